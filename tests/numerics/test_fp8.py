"""FP8: every code and every rounding as the formats define them, scales and codes of compressed-tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import quantize_fp8
from qcourse.numerics.fp8 import (
    GRANULARITIES,
    LARGEST,
    cast_fp8,
    fake_quantize_blocks,
    fake_quantize_static,
    fake_quantize_tokens,
)
from tests.numerics.library import compressed_tensors
from tests.numerics.samples import DTYPES, KINDS, NOT_FINITE, sample, spoiled

# exponent bits, mantissa bits, exponent bias, largest value, and the codes that are no finite number
DEFINITIONS = {
    torch.float8_e4m3fn: (4, 3, 7, 448.0, {0x7F, 0xFF}),
    torch.float8_e5m2: (5, 2, 15, 57344.0, {*range(0x7C, 0x80), *range(0xFC, 0x100)}),
    torch.float8_e4m3fnuz: (4, 3, 8, 240.0, {0x80}),
}


def values_by_definition(dtype: torch.dtype) -> dict[int, float]:
    """Return the value of every code that is a finite number, from sign, exponent and mantissa bits."""
    exponent_bits, mantissa_bits, bias, _, no_number = DEFINITIONS[dtype]
    values = {}
    for code in set(range(256)) - no_number:
        exponent, mantissa = code >> mantissa_bits & 2**exponent_bits - 1, code & 2**mantissa_bits - 1
        fraction = mantissa / 2**mantissa_bits + (exponent > 0)  # exponent 0: subnormal
        values[code] = (-1) ** (code >> 7) * fraction * 2.0 ** (max(exponent, 1) - bias)
    return values


def nearest_codes(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the code of the nearest number, the even code at a tie, the largest number beyond it."""
    numbers = {code: value for code, value in values_by_definition(dtype).items() if code < 128}
    codes, levels = (torch.tensor(part) for part in (list(numbers), list(numbers.values())))
    size = values.double().abs().clamp(max=DEFINITIONS[dtype][3])
    distance = (size[:, None] - levels.double()).abs()
    closest = distance == distance.amin(1, keepdim=True)
    found = torch.where(closest, codes + 1000 * (codes % 2), 9999).amin(1) % 1000
    signed = found + 128 * values.signbit()
    return torch.where(signed == 128, 0, signed) if dtype == torch.float8_e4m3fnuz else signed


@pytest.mark.parametrize("dtype", LARGEST)
def test_codes_stand_for_the_values_of_the_definition(dtype):
    values = values_by_definition(dtype)
    codes = torch.tensor(sorted(values), dtype=torch.uint8)
    assert codes.view(dtype).float().tolist() == [values[code] for code in sorted(values)]
    others = torch.tensor(sorted(DEFINITIONS[dtype][-1]), dtype=torch.uint8)
    assert not others.view(dtype).float().isfinite().any()
    assert LARGEST[dtype] == DEFINITIONS[dtype][3] == max(values.values())


@pytest.mark.parametrize("dtype", LARGEST)
def test_the_cast_takes_the_nearest_number_ties_to_even_and_saturates(dtype):
    """On every bfloat16, every number, every midpoint and the float32 beside each of them."""
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16).float()
    numbers = torch.tensor(sorted(values_by_definition(dtype).values()))
    marks = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2, numbers[[0, -1]] * 1.07])
    beside = [torch.nextafter(marks, torch.tensor(way)) for way in (float("-inf"), float("inf"))]
    values = torch.cat([every[every.isfinite()], marks, *beside])
    assert len(values) > 65_000
    assert torch.equal(cast_fp8(values, dtype).view(torch.uint8).long(), nearest_codes(values, dtype))
    infinite = cast_fp8(torch.tensor([float("inf"), float("-inf")]), dtype).float()
    assert infinite.tolist() == [LARGEST[dtype], -LARGEST[dtype]]


@settings(max_examples=150, deadline=None)
@given(fp8=st.sampled_from(list(LARGEST)), granularity=st.sampled_from(GRANULARITIES),
       seed=st.integers(0, 99), kind=st.sampled_from(KINDS), dtype=st.sampled_from(DTYPES),
       rows=st.integers(1, 9), columns=st.integers(1, 40), storable=st.booleans())  # fmt: skip
def test_errors_are_bounded_signs_symmetric_and_numbers_kept(
    fp8, granularity, seed, kind, dtype, rows, columns, storable
):
    weight = sample(kind, rows, columns, seed, dtype)
    quantized = quantize_fp8(weight, granularity, fp8, (4, 16), storable)
    dense, limits = quantized.dequantize(), torch.finfo(fp8)
    assert quantized.codes.dtype == fp8 and quantized.codes.shape == weight.shape
    assert dense.isfinite().all()
    scale = quantized.per_column(quantized.scale).double()
    half_step = torch.maximum(weight.double().abs(), limits.smallest_normal * scale) * limits.eps / 2
    error = (quantized.codes.double() * scale - weight.double()).abs()
    denormal = 2.0**-149 * LARGEST[fp8]  # the error of a scale that is itself a denormal
    assert (error <= half_step * (1 + 1e-6) + denormal).all()
    opposite = quantize_fp8(-weight, granularity, fp8, (4, 16), storable).dequantize()
    assert torch.equal(opposite, -dense)
    if storable:  # else the new scale may differ from the old one in its last bit
        assert torch.equal(quantize_fp8(dense, granularity, fp8, (4, 16)).dequantize(), dense)


def hard() -> torch.Tensor:
    """Weights [200, 300]: ordinary rows, zeros, a tiny row, denormals, one outlier, and ties of E4M3."""
    weight = torch.randn(200, 300, generator=torch.Generator().manual_seed(1))
    weight[3], weight[5, 7] = 0, -3e4
    weight[6] *= 1e-20
    weight[7] *= 1e-39
    weight[8] = sample("smallest", 1, 300, 0)
    weight[128:, 128:256] = 0  # a block
    weight[9] = torch.arange(300) + 1.0  # with 896 the scale is 2: many a half lies between two numbers
    weight[9, 0] = 896
    return weight


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_scales_and_codes_are_compressed_tensors(granularity):
    """From the library's own observer to its codes; a scale made for zeros is 1 here, 1.2e-7 there."""
    block = {"block_structure": [128, 128]} if granularity == "block" else {}
    asked = {"num_bits": 8, "type": "float", "strategy": granularity} | block
    weight = hard()
    theirs = compressed_tensors(weight, "fp8", **asked)
    ours = quantize_fp8(weight, granularity, storable=False)
    scale = theirs.scale.reshape(ours.scale.shape)
    used = ours.scale != 1
    assert torch.equal(ours.scale[used], scale[used]) and (scale[~used] == torch.finfo().eps).all()
    assert torch.equal(ours.codes.float(), theirs.codes) and torch.equal(ours.dequantize(), theirs.dense)
    weight = torch.randn(200, 300, generator=torch.Generator().manual_seed(2)).bfloat16()
    theirs = compressed_tensors(weight, "fp8", **asked)
    ours = quantize_fp8(weight, granularity)  # stored as the library stores it: in bfloat16
    assert torch.equal(ours.scale, theirs.scale.float().reshape(ours.scale.shape))


def test_tokens_and_their_blocks_are_compressed_tensors():
    asked = {"num_bits": 8, "type": "float", "dynamic": True}
    theirs = compressed_tensors(hard(), "fp8", strategy="token", **asked)
    assert torch.equal(fake_quantize_tokens(hard()), theirs.dense)
    inputs = hard()[:, :256].contiguous()
    theirs = compressed_tensors(inputs, "fp8", strategy="group", group_size=128, **asked)
    assert torch.equal(fake_quantize_blocks(inputs), theirs.dense)


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
    assert torch.equal(blocks[:, 256:], fake_quantize_tokens(wide[:, 256:]))  # the ragged end is a block too


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_values_not_finite_are_named(granularity, bad):
    weight, words = spoiled(bad, (4, 8))
    with pytest.raises(ValueError, match=words):
        quantize_fp8(weight, granularity)
