"""Affine integers: error bounds, stored scales, the reference grids with their ties, bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import PER_TENSOR, quantize_affine, quantize_int8, storable_scale, valid_group_sizes
from qcourse.numerics.grid import Grid, range_of, split_groups
from tests.numerics.library import compressed_tensors, gptq
from tests.numerics.samples import DTYPES, KINDS, NOT_FINITE, sample, spoiled

GROUP_SIZES = {"tensor": PER_TENSOR, "channel": -1, "group": 32}


def draw_weights(test):
    """Run a property test on weights of every kind, shape and dtype."""
    shapes = {"rows": st.integers(1, 5), "groups": st.integers(1, 4), "size": st.sampled_from([1, 3, 8, 43])}
    kinds = {"kind": st.sampled_from(KINDS), "dtype": st.sampled_from(DTYPES), "seed": st.integers(0, 99)}
    return settings(max_examples=100, deadline=None)(given(bits=st.integers(2, 8), **shapes, **kinds)(test))


@pytest.mark.parametrize("symmetric", [True, False])
@draw_weights
def test_a_weight_inside_the_levels_errs_by_at_most_half_a_step(
    kind, rows, groups, size, bits, symmetric, dtype, seed
):
    weight = sample(kind, rows, groups * size, seed, dtype)
    quantized = quantize_affine(weight, bits, size, symmetric)
    scale, zero = quantized.per_column(quantized.scale), quantized.per_column(quantized.zero_point)
    dense, weight = quantized.dequantize(), weight.float()
    lowest, highest = -zero * scale, (2**bits - 1 - zero) * scale
    outside = torch.maximum(lowest - weight, weight - highest).clamp(min=0)
    # Half a step, because of the level that a symmetric grid lacks or of the rounded zero point, and what
    # the end of the range moves when the scale is rounded to 8 significant bits: 2**-8 of it.
    steps = (2**bits - 1) / (2 if symmetric else 1)
    assert (outside <= scale * (0.5 + steps * 2**-8) * (1 + 1e-4)).all()
    error = (dense - weight).abs()
    assert (error <= torch.where(outside > 0, outside, scale / 2) * (1 + 1e-4)).all()
    assert dense.isfinite().all() and int(quantized.codes.max()) < 2**bits
    again = Grid(scale, zero, bits, symmetric).codes(dense)
    assert torch.equal(again, quantized.codes.float())
    assert torch.equal(quantized.scale, quantized.scale.to(torch.bfloat16).float())
    assert torch.equal(quantized.scale, quantized.scale.to(torch.float16).float())


@draw_weights
def test_the_textbook_grid_is_symmetric_and_idempotent(kind, rows, groups, size, bits, dtype, seed):
    weight = sample(kind, rows, groups * size, seed, dtype)
    quantized = quantize_affine(weight, bits, size, convention="restricted")
    dense = quantized.dequantize()
    assert int(quantized.codes.min()) >= 1
    assert torch.equal(quantize_affine(-weight, bits, size, convention="restricted").dequantize(), -dense)
    assert torch.equal(quantize_affine(dense, bits, size, convention="restricted").dequantize(), dense)
    error = (dense - weight.float()).abs()
    assert (error <= quantized.per_column(quantized.scale) / 2 * (1 + 1e-4)).all()  # nothing is clipped


def ties_and_others(bits: int, textbook: bool = False) -> torch.Tensor:
    """Weights [136, 64]: 68 rows on and midway between the levels of their grid, ordinary ones, zeros."""
    generator = torch.Generator().manual_seed(bits)
    top = 2 ** (bits - 1) - 1 if textbook else (2**bits - 1) / 2  # steps from zero to the absmax
    ties = torch.randint(int(-2 * top), int(2 * top) + 1, (68, 64), generator=generator) / 2
    ties[:, ::32] = top  # every group of 32 has the same scale, 1/8
    ordinary = torch.randn(68, 64, generator=generator)
    ordinary[5], ordinary[6, 7] = 0, -300.0
    weight = torch.cat([ties / 8, ordinary])
    assert ((weight[:68] * 8).remainder(1) == 0.5).float().mean() > 0.3
    return weight


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("strategy", GROUP_SIZES)
def test_symmetric_codes_are_compressed_tensors_ties_included(bits, strategy):
    """Scales and codes, from the observer to the integers, are the library's own."""
    size = GROUP_SIZES[strategy]
    group = {"group_size": size} if strategy == "group" else {}
    weight = ties_and_others(bits)[: 68 if strategy == "tensor" else None]
    theirs = compressed_tensors(weight, "integer grids", num_bits=bits, strategy=strategy, **group)
    ours = quantize_affine(weight, bits, size, storable=False)
    used = split_groups(weight, size).abs().amax(-1) > 0  # zeros: scale 1 here, 1.2e-7 there, the same codes
    assert torch.equal(ours.scale[used], theirs.scale.reshape(ours.scale.shape)[used])
    assert torch.equal(ours.codes.float() - 2 ** (bits - 1), theirs.codes)
    assert torch.equal(ours.dequantize(), theirs.dense)
    in_half = compressed_tensors(
        weight.bfloat16(), "integer grids", num_bits=bits, strategy=strategy, **group
    )
    stored = quantize_affine(weight.bfloat16(), bits, size).scale
    assert torch.equal(stored[used], in_half.scale.float().reshape(stored.shape)[used])


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_are_gptqs_ties_included(bits, symmetric):
    for weight in (ties_and_others(bits), quarter_steps(bits)[1:]):
        theirs = gptq(weight, bits, symmetric)
        ours = quantize_affine(weight, bits, -1, symmetric, storable=False)
        used = weight.abs().amax(1) > 0  # of zeros, each library makes a grid of its own
        assert torch.equal(ours.scale[used, 0], theirs.scale[used])
        assert torch.equal(ours.zero_point[used, 0].float(), theirs.zero[used])
        assert torch.equal(ours.dequantize(), theirs.dense)


def test_gptqs_halved_range_of_a_positive_group_is_not_followed():
    weight = torch.tensor([[1.0, 2.0, 7.5]])
    theirs, ours = gptq(weight, 4, symmetric=True), quantize_affine(weight, 4, -1)
    assert theirs.scale.item() == 0.5 and theirs.dense.max() == 3.5
    assert ours.scale.item() == 1.0 and ours.dequantize().tolist() == [[1.0, 2.0, 7.0]]


@pytest.mark.parametrize("bits", range(2, 9))
def test_textbook_codes_are_qqqs_ties_included(bits):
    weight = ties_and_others(bits, textbook=True)
    weight = weight[weight.abs().amax(1) > 0]
    theirs = gptq(weight, bits, symmetric=True, textbook=True)
    ours = quantize_affine(weight, bits, -1, convention="restricted", storable=False)
    assert torch.equal(ours.scale[:, 0], theirs.scale) and torch.equal(ours.dequantize(), theirs.dense)


def quarter_steps(bits: int) -> torch.Tensor:
    """Weights [2**bits, about 4 * 2**bits], each row from its lowest level to its highest by quarter steps.

    Every row has scale 1/8, exactly, and row z the zero point z.
    """
    levels = 2**bits - 1
    return (torch.arange(4 * levels + 1) / 4 - torch.arange(levels + 1)[:, None]) / 8


@pytest.mark.parametrize("bits", range(2, 9))
def test_asymmetric_ties_go_to_the_even_level_and_in_compressed_tensors_to_the_even_code(bits):
    """Where quotients are exact, the two differ at every tie with an odd zero point, and nowhere else."""
    weight, zero = quarter_steps(bits), torch.arange(2.0**bits)[:, None]
    theirs = compressed_tensors(weight, "integer grids", num_bits=bits, strategy="channel", symmetric=False)
    ours = quantize_affine(weight, bits, -1, symmetric=False, storable=False)
    assert torch.equal(ours.scale, theirs.scale) and (ours.scale == 0.125).all()
    assert torch.equal(ours.zero_point.float(), zero)
    assert torch.equal(theirs.zero.float() + 2 ** (bits - 1), zero)
    steps = weight / 0.125
    assert torch.equal(ours.codes.float(), steps.round() + zero)
    assert torch.equal(theirs.codes + 2 ** (bits - 1), (steps + zero).round())
    differ = ours.codes.float() != theirs.codes + 2 ** (bits - 1)
    assert torch.equal(differ, (steps.remainder(1) == 0.5) & (zero % 2 == 1)) and differ.any()


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("strategy", GROUP_SIZES)
def test_asymmetric_codes_are_compressed_tensors_between_ties(bits, strategy):
    weight, size = sample("normal", 64, 96, bits), GROUP_SIZES[strategy]
    group = {"group_size": size} if strategy == "group" else {}
    theirs = compressed_tensors(
        weight, "integer grids", num_bits=bits, strategy=strategy, symmetric=False, **group
    )
    ours = quantize_affine(weight, bits, size, symmetric=False, storable=False)
    assert torch.equal(ours.scale, theirs.scale.reshape(ours.scale.shape))
    assert torch.equal(
        ours.zero_point.float(), theirs.zero.float().reshape(ours.scale.shape) + 2 ** (bits - 1)
    )
    steps = weight / ours.per_column(ours.scale)
    tied = ((steps.remainder(1) - 0.5).abs() < 1e-4) & (ours.codes.float() != theirs.codes + 2 ** (bits - 1))
    assert torch.equal((ours.codes.float() - 2 ** (bits - 1))[~tied], theirs.codes[~tied])
    assert tied.float().mean() < 1e-3  # adding the zero point loses the last bits of the quotient


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
    codes = Grid.spanning(*range_of(groups), 4, False)[..., None].codes(groups)
    assert torch.equal(codes.reshape(4, 64).to(torch.uint8), quantize_affine(weight, 4, 32, False).codes)


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_values_not_finite_are_named(bad):
    weight, words = spoiled(bad, (4, 32))
    with pytest.raises(ValueError, match=words):
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


def test_only_a_scale_of_zero_is_stored_as_zero():
    scale = torch.tensor([0.0, 1e-45, -1e-45, 1e-41, 1e-39])
    assert storable_scale(scale).tolist() == [0.0, 2**-17, -(2**-17), 2**-17, 2**-17]


def test_scale_too_large_for_float16_is_refused():
    with pytest.raises(ValueError, match="does not fit in float16"):
        storable_scale(torch.tensor([1e5]))


def test_int8_rows():
    codes, scale = quantize_int8(torch.tensor([[-127.5, 64.0, 127.5], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[-128, 64, 127], [0, 0, 0]]
    codes, scale = quantize_int8(torch.tensor([[-1.0, 0.5, 1.0], [0.0, 0.0, 0.0]]), levels=127)
    assert codes.tolist() == [[-127, 64, 127], [0, 0, 0]] and scale[0].item() == pytest.approx(1 / 127)


@pytest.mark.parametrize("settings", [{"strategy": "channel"}, {"strategy": "token", "dynamic": True}])
def test_int8_rows_and_tokens_are_compressed_tensors(settings):
    values = ties_and_others(8)
    theirs = compressed_tensors(values, "w8a8 int8", num_bits=8, **settings)
    codes, scale = quantize_int8(values)
    used = values.abs().amax(1) > 0
    assert torch.equal(scale[used, 0], theirs.scale.reshape(-1)[used])
    assert torch.equal(codes.float(), theirs.codes) and torch.equal(codes * scale, theirs.dense)


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
