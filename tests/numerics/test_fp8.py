"""FP8: clamped by us, relative error bounded, equal to compressed-tensors, four granularities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import quantize_fp8
from qcourse.numerics.fp8 import (
    LARGEST,
    cast_fp8,
    fake_quantize_blocks,
    fake_quantize_static,
    fake_quantize_tokens,
)


@pytest.mark.parametrize("dtype, largest", [(torch.float8_e4m3fn, 448), (torch.float8_e5m2, 57344),
                                            (torch.float8_e4m3fnuz, 240)])  # fmt: skip
def test_cast_saturates_at_the_format_s_largest_value(dtype, largest):
    values = torch.tensor([largest, largest * 1.01, 1e6, -1e6, float("inf")])
    assert cast_fp8(values, dtype).float().tolist() == [largest, largest, largest, -largest, largest]
    assert LARGEST[dtype] == torch.finfo(dtype).max


@settings(max_examples=50, deadline=None)
@given(dtype=st.sampled_from(list(LARGEST)), granularity=st.sampled_from(["tensor", "channel", "block"]),
       rows=st.integers(1, 200), columns=st.integers(1, 200), seed=st.integers(0, 99))  # fmt: skip
def test_relative_error_is_bounded(dtype, granularity, rows, columns, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    quantized = quantize_fp8(weight, granularity, dtype)
    assert quantized.codes.dtype == dtype and quantized.codes.shape == weight.shape
    scale = quantized.per_column(quantized.scale).expand_as(weight)
    bound = weight.abs() * (2.0**-3 if dtype == torch.float8_e5m2 else 2.0**-4)
    smallest = torch.finfo(dtype).smallest_normal * scale
    assert ((quantized.dequantize() - weight).abs() <= torch.maximum(bound, smallest) * 1.01).all()


@pytest.mark.parametrize(
    "granularity, strategy", [("tensor", "tensor"), ("channel", "channel"), ("block", "block")]
)
def test_equal_to_compressed_tensors(granularity, strategy):
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize

    block = {"block_structure": [128, 128]} if strategy == "block" else {}
    arguments = QuantizationArgs(num_bits=8, type="float", strategy=strategy, **block)
    weight = torch.randn(200, 300, generator=torch.Generator().manual_seed(1))
    ours = quantize_fp8(weight, granularity)
    theirs = quantize(weight, ours.scale, None, arguments, dtype=torch.float8_e4m3fn)
    assert torch.equal(ours.codes.float(), theirs.float())


def test_number_of_scales():
    weight = torch.randn(200, 300)
    shapes = [quantize_fp8(weight, granularity).scale.shape for granularity in ("tensor", "channel", "block")]
    assert shapes == [(1, 1), (200, 1), (2, 3)]
    with pytest.raises(ValueError, match="unknown granularity 'row'"):
        quantize_fp8(weight, "row")


def test_activations_dynamic_static_and_blocks():
    values = torch.tensor([[100.0, 1.0, 0.5], [0.01, 0.003, 0.0]])
    dynamic = fake_quantize_tokens(values)
    assert ((dynamic - values).abs() <= values.abs() * 2**-4).all()  # each token has its own scale
    static = fake_quantize_static(values, 1.0 / 448)
    assert static[0, 0] == 1.0  # a range fixed at 1 saturates what exceeds it
    wide = torch.randn(3, 300)
    wide[:, 0] = 1e4
    blocks, whole = fake_quantize_blocks(wide), fake_quantize_tokens(wide)
    assert (blocks - wide)[:, 128:].abs().mean() < (whole - wide)[:, 128:].abs().mean()
    assert blocks.shape == wide.shape


def test_zeros_and_bad_values():
    assert quantize_fp8(torch.zeros(4, 8)).dequantize().abs().max() == 0
    with pytest.raises(ValueError, match="1 NaN"):
        quantize_fp8(torch.tensor([[1.0, float("nan")]]))
