"""Affine integers: error bounds, stored scales, the reference grids with their ties, bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import PER_TENSOR, quantize_affine, quantize_int8, storable_scale, valid_group_sizes
from qcourse.numerics.affine import grid, range_of, round_to, split_groups

EXTREMES = ("normal", "zeros", "constant", "denormal", "huge", "one-sided")


def sample(kind: str, rows: int, columns: int, seed: int) -> torch.Tensor:
    """A weight of one awkward kind."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    if kind == "zeros":
        return torch.zeros(rows, columns)
    if kind == "constant":
        return torch.full((rows, columns), 0.37)
    if kind == "denormal":
        return weight * 1e-39
    if kind == "huge":
        weight[0, 0] = 3e4
    return weight.abs() + 1 if kind == "one-sided" else weight


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(EXTREMES),
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
    size=st.sampled_from([1, 3, 8, 32, 43]),
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 99),
)
def test_error_is_at_most_half_a_step(kind, rows, groups, size, bits, symmetric, dtype, seed):
    weight = sample(kind, rows, groups * size, seed).to(dtype)
    quantized = quantize_affine(weight, bits, size, symmetric)
    scale = quantized.per_column(quantized.scale)
    error = (quantized.dequantize() - weight.float()).abs()
    # A symmetric grid clips its largest positive value by half a step; rounding the scale to 8 significant
    # bits moves the ends of the range by 2**-9 of it, and rounding the zero point by up to half a step more.
    reach = 2**bits * 2.0**-9 + (0 if symmetric else 0.5)
    assert (error <= scale * (0.5 + reach) + 1e-30).all()
    inside = (
        (weight.float().abs() < scale * (2 ** (bits - 1) - 1)) if symmetric else torch.zeros_like(error) > 0
    )
    assert (error <= scale * 0.5001)[inside].all()
    assert int(quantized.codes.max()) < 2**bits
    assert torch.equal(quantized.scale, quantized.scale.to(torch.bfloat16).float())
    assert torch.equal(quantized.scale, quantized.scale.to(torch.float16).float())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_equal_to_compressed_tensors_ties_included(bits, symmetric):
    """Same codes and scales as compressed-tensors 0.19, on weights that sit on and between levels."""
    helpers = pytest.importorskip("compressed_tensors.quantization.utils.helpers")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize

    arguments = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group", group_size=32)
    halves = torch.arange(-32, 32).float().repeat(4, 1) / 8  # many exact ties
    weight = torch.cat([halves, torch.randn(64, 64, generator=torch.Generator().manual_seed(bits))])
    groups = weight.reshape(68, 2, 32)
    scale, zero = helpers.calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    expected = quantize(weight, scale, zero, arguments).float() + 2 ** (bits - 1)
    ours = quantize_affine(weight, bits, 32, symmetric, storable=False)
    assert torch.equal(ours.scale, scale)
    if symmetric:
        assert torch.equal(ours.codes.float(), expected)
    else:  # theirs adds the zero point before rounding, which may differ from ours in exact ties only
        assert torch.equal(ours.zero_point.float(), zero.float() + 2 ** (bits - 1))
        different = ours.codes.float() != expected
        position = (weight / ours.per_column(scale)).remainder(1)
        assert ((position - 0.5).abs()[different] < 1e-4).all()


def test_textbook_grid_leaves_one_level_unused():
    weight = torch.tensor([[-7.0, -3.5, 0.0, 7.0]])
    codes = quantize_affine(weight, 4, -1, convention="restricted").codes
    assert codes.tolist() == [[1, 4, 8, 15]]  # -3.5 is a tie and goes to the even level -4
    with pytest.raises(ValueError, match="unknown convention"):
        quantize_affine(weight, 4, -1, convention="q4_0")


def test_granularities_have_the_right_number_of_scales():
    weight = torch.randn(6, 48)
    assert quantize_affine(weight, 4, 16).scale.shape == (6, 3)
    assert quantize_affine(weight, 4, -1).scale.shape == (6, 1)
    assert quantize_affine(weight, 4, PER_TENSOR).scale.shape == (1, 1)
    assert quantize_affine(weight, 4, 16).bits_per_weight() == 4 + 16 / 16
    assert quantize_affine(weight, 4, 16, symmetric=False).bits_per_weight() == 4 + 20 / 16


@pytest.mark.parametrize("symmetric", [True, False])
def test_range_search_never_costs_and_pays_where_a_group_has_an_outlier(symmetric):
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    weight[:, 3] *= 6
    importance = torch.ones(128)
    plain = quantize_affine(weight, 3, 64, symmetric)
    searched = quantize_affine(weight, 3, 64, symmetric, search=True)
    importance[3] = 1e4  # the outlier column matters most: its range must not be cut
    weighted = quantize_affine(weight, 3, 64, symmetric, search=True, importance=importance)

    def error(quantized):
        return (quantized.dequantize() - weight).square().sum()

    assert error(searched) < 0.9 * error(plain)
    column = (weighted.dequantize() - weight)[:, 3].square().sum()
    assert column < (searched.dequantize() - weight)[:, 3].square().sum()


def test_steps_compose_as_the_page_says():
    weight = torch.randn(4, 64)
    groups = split_groups(weight, 32)
    scale, zero = grid(*range_of(groups), 4, False)
    codes = round_to(groups, scale[..., None], zero[..., None], 4)
    assert torch.equal(codes.reshape(4, 64).to(torch.uint8), quantize_affine(weight, 4, 32, False).codes)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_not_finite_are_named(bad):
    weight = torch.randn(4, 32)
    weight[2, 5] = bad
    with pytest.raises(ValueError, match="1 NaN" if bad != bad else "1 infinite"):
        quantize_affine(weight, 4, 32)


def test_group_that_does_not_divide_names_those_that_do():
    with pytest.raises(
        ValueError, match="group size 128 does not divide 172 columns; these do: 172, 86, 43, 4, 2"
    ):
        quantize_affine(torch.randn(4, 172), 4, 128)
    assert valid_group_sizes(172) == [172, 86, 43, 4, 2]
    with pytest.raises(ValueError, match="9 bits are outside 2..8"):
        quantize_affine(torch.randn(4, 32), 9, 32)


@settings(max_examples=40, deadline=None)
@given(st.floats(-60000, 60000, width=32))
def test_stored_scale_is_exact_in_both_half_formats(value):
    stored = storable_scale(torch.tensor([value]))
    assert torch.equal(stored.to(torch.float16).float(), stored)
    assert torch.equal(stored.to(torch.bfloat16).float(), stored)
    assert (stored - value).abs() <= max(abs(value) * 2**-8, 2**-17)


def test_scale_too_large_for_float16_is_refused():
    with pytest.raises(ValueError, match="does not fit in float16"):
        storable_scale(torch.tensor([1e5]))


def test_int8_rows():
    codes, scale = quantize_int8(torch.tensor([[-127.5, 64.0, 127.5], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[-128, 64, 127], [0, 0, 0]]
    codes, scale = quantize_int8(torch.tensor([[-1.0, 0.5, 1.0], [0.0, 0.0, 0.0]]), levels=127)
    assert codes.tolist() == [[-127, 64, 127], [0, 0, 0]] and scale[0].item() == pytest.approx(1 / 127)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [16, -1, 0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dequantizing_to_16_bits_rounds_once(bits, symmetric, group_size, dtype):
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(bits))
    quantized = quantize_affine(weight, bits, group_size, symmetric)
    plain = (quantized.codes.float() - quantized.per_column(quantized.zero_point)) * quantized.per_column(
        quantized.scale
    )
    assert torch.equal(quantized.dequantize(), plain)
    assert torch.equal(quantized.dequantize_to(dtype), plain.to(dtype))
    quantized.scale = quantized.scale * 1.001  # no 16-bit dtype holds it
    assert torch.equal(quantized.dequantize_to(dtype), quantized.dequantize().to(dtype))
    if group_size == 16:
        quantized.g_idx = torch.randperm(4).repeat_interleave(16).to(torch.int32)
        assert torch.equal(quantized.dequantize_to(dtype), quantized.dequantize().to(dtype))


@pytest.mark.parametrize("search", [False, True])
def test_a_parameter_is_quantized_as_its_values_and_dequantized_for_training(search):
    values = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    found = quantize_affine(torch.nn.Parameter(values), 4, 32, search=search)
    assert torch.equal(found.dequantize(), quantize_affine(values, 4, 32, search=search).dequantize())
    factor = torch.ones(64, requires_grad=True)
    (found.dequantize() * factor).sum().backward()
    assert torch.equal(factor.grad, found.dequantize().sum(0))
