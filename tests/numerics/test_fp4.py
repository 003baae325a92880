"""MXFP4 and NVFP4 equal compressed-tensors: ties, scales, packed bytes, dequantized values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics.fp4 import (
    E2M1,
    fp4_values,
    pack_fp4,
    power_of_two,
    quantize_mxfp4,
    quantize_nvfp4,
    round_fp4,
    unpack_fp4,
)

HARD = torch.tensor([0, 0.25, 0.26, 0.75, 1.25, 1.26, 1.75, 2.5, 2.51, 3.5, 5.0, 5.01, 6.0, 6.0, 0.1, -0.0])


def weights() -> torch.Tensor:
    """Rows with every tie of the grid, zeros, denormals, one huge value, and ordinary ones."""
    generator = torch.Generator().manual_seed(0)
    ties = torch.cat([HARD, -HARD, HARD * 4, -HARD / 8])[None].repeat(4, 1)
    ordinary = torch.randn(32, 64, generator=generator)
    ordinary[3] = 0
    ordinary[4] *= 1e-20
    ordinary[5, 7] = 300.0
    return torch.cat([ties, ordinary])


def test_rounding_equals_compressed_tensors():
    fp4_utils = pytest.importorskip("compressed_tensors.quantization.utils.fp4_utils")
    helpers = pytest.importorskip("compressed_tensors.compressors.nvfp4.helpers")
    values = torch.cat([torch.linspace(-6, 6, 4000), HARD, -HARD]).reshape(1, -1)
    theirs = fp4_utils.cast_to_fp4(values.clone())
    codes = round_fp4(values)
    assert torch.equal(fp4_values(codes), theirs)
    assert torch.equal(pack_fp4(codes), helpers.pack_fp4_to_uint8(theirs))


@pytest.mark.parametrize("kind", ["mxfp4", "nvfp4"])
def test_equal_to_compressed_tensors(kind):
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils.helpers import calculate_qparams, generate_gparam

    weight = weights()
    group, scale_dtype = (32, torch.uint8) if kind == "mxfp4" else (16, torch.float8_e4m3fn)
    strategy = "group" if kind == "mxfp4" else "tensor_group"
    arguments = QuantizationArgs(
        num_bits=4,
        type="float",
        strategy=strategy,
        group_size=group,
        symmetric=True,
        scale_dtype=scale_dtype,
        zp_dtype=scale_dtype,
    )
    groups = weight.reshape(weight.shape[0], -1, group)
    low, high = groups.amin(-1), groups.amax(-1)
    divisor = None if kind == "mxfp4" else generate_gparam(weight.min(), weight.max())
    scale, zero = calculate_qparams(low, high, arguments, divisor)
    theirs = fake_quantize(weight, scale.float(), zero, arguments, global_scale=divisor)
    ours = (quantize_mxfp4 if kind == "mxfp4" else quantize_nvfp4)(weight)
    assert torch.equal(ours.scale[:3], scale.float()[:3])
    ordinary = groups.abs().amax(-1) > 2.0**-100  # theirs stores a zero group's scale as 1, ours as 2**-127
    assert torch.equal(ours.scale[ordinary], scale.float()[ordinary])
    assert torch.equal(ours.dequantize()[5:], theirs[5:]) and torch.equal(ours.dequantize()[:3], theirs[:3])


def test_stored_bits():
    weight = torch.randn(64, 256)
    assert quantize_mxfp4(weight).bits_per_weight() == 4.25
    assert quantize_nvfp4(weight).bits_per_weight() == 4.5 + 32 / weight.numel()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_codes_are_the_nearest_values_of_the_grid(rows, groups, size, seed):
    weight = torch.randn(rows, 32 * groups, generator=torch.Generator().manual_seed(seed)) * size
    for quantized in (quantize_mxfp4(weight), quantize_nvfp4(weight)):
        scale = quantized.scale / quantized.extra.get("global_scale", 1)
        scaled = (weight / scale.repeat_interleave(quantized.group_size, 1)).clamp(-6, 6)
        grid = torch.tensor([*E2M1, *(-value for value in E2M1)])
        nearest = (scaled[..., None] - grid).abs().amin(-1)
        assert torch.allclose((fp4_values(quantized.codes) - scaled).abs(), nearest, atol=1e-5)
        assert torch.equal(unpack_fp4(pack_fp4(quantized.codes)), quantized.codes)


def test_power_of_two_rounds_up_from_a_mantissa_of_seven_quarters():
    assert power_of_two(torch.tensor([4.0, 6.9, 7.0, 8.0])).tolist() == [1.0, 1.0, 2.0, 2.0]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="group size 32 does not divide 48"):
        quantize_mxfp4(torch.randn(4, 48))
    with pytest.raises(ValueError, match="1 infinite"):
        quantize_nvfp4(torch.full((1, 16), 1.0).index_fill(1, torch.tensor([2]), float("inf")))
