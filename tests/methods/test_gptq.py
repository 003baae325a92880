"""GPTQ, the page and the fast schedule: against each other, a naive loop, rounding, bad Hessians."""

import pytest
import torch

from qcourse.methods import gptq, gptq_fast, rtn
from qcourse.methods.gptq_drift import drift_feedback
from qcourse.methods.gptq_factor import upper_factor
from qcourse.methods.gptq_fast import block_width
from qcourse.methods.gptq_order import column_order
from qcourse.numerics import quantize_affine

ORDERS = ("none", "static", "group-aware", "full")


def layer(rows: int = 48, columns: int = 256, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight and the Hessian of correlated inputs of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator) * torch.exp(
        torch.randn(columns, generator=generator)
    )
    inputs = torch.randn(2 * columns, columns, generator=generator) @ mix / columns**0.5
    return torch.randn(rows, columns, generator=generator), inputs.T @ inputs / len(inputs)


def output_error(quantized, weight, hessian) -> float:
    change = (quantized.dequantize() - weight).double()
    return float(((change @ hessian.double()) * change).sum())


def naive(weight, hessian, bits, group, damping=0.01):
    """The paper's loop in float64: round a column, spread its error, eliminate it from the inverse."""
    weight, hessian = weight.double().clone(), hessian.double()
    inverse = torch.linalg.inv(
        hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian)).double()
    )
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for j in range(weight.shape[1]):
        if j % group == 0:
            grid = quantize_affine(weight[:, j : j + group].float(), bits, -1)
        rounded = torch.round(weight[:, j].float() / grid.scale[:, 0]) + 2 ** (bits - 1)
        codes[:, j] = rounded.clamp(0, 2**bits - 1).to(torch.uint8)
        value = (codes[:, j].double() - 2 ** (bits - 1)) * grid.scale[:, 0].double()
        error = (weight[:, j] - value) / inverse[j, j]
        weight -= error[:, None] * inverse[j][None]
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return codes


@pytest.mark.parametrize("columns", [1, 7, 64, 129, 600])
def test_the_factor_is_that_of_the_hessian_in_the_order_asked_for(columns):
    """Sizes about those at which it is turned by parts, odd ones too."""
    _, hessian = layer(1, columns)
    order = torch.randperm(columns)
    factor, damping = upper_factor(hessian, 0.01, order)
    damped = hessian.double() + damping * hessian.diagonal().mean() * torch.eye(columns)
    product = factor.double() @ factor.double().T
    assert torch.equal(factor, factor.triu())
    assert (product - damped[order][:, order]).abs().max() < 1e-6 * damped.abs().max()


@pytest.mark.parametrize("page", [gptq, gptq_fast])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [8, 32, 128, 256])
def test_blocked_updates_equal_the_naive_loop(page, bits, group):
    weight, hessian = layer()
    ours = page.quantize_layer(
        weight, bits=bits, group_size=group, hessian=hessian, act_order="none", search=False
    )
    agree = (ours.codes == naive(weight, hessian, bits, group)).float().mean()
    assert agree > 0.99  # float32 against float64: a value on the edge between two levels may fall either way


def assert_same(first, second):
    """All that a file would hold, to the last code."""
    for name in ("codes", "scale", "zero_point", "g_idx"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None and other is None) or torch.equal(one, other), name
    assert first.damping == second.damping


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("group_size", [8, 32, 96, 128, -1])
@pytest.mark.parametrize("act_order", ORDERS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("search", [True, False])
def test_the_page_and_the_fast_schedule_give_the_same_codes(bits, group_size, act_order, symmetric, search):
    """In float64, where the order of sums moves no value across the edge between two levels."""
    weight, hessian = layer(24, 384)
    dead = [0, 17, 200]
    hessian[dead], hessian[:, dead] = 0, 0
    given = dict(bits=bits, group_size=group_size, symmetric=symmetric, act_order=act_order, search=search)
    pages = [page.quantize_layer(weight, **given, hessian=hessian.double()) for page in (gptq, gptq_fast)]
    assert_same(*pages)
    unlike = gptq.quantize_layer(weight, **given, hessian=hessian.double().flip(0, 1))
    assert not torch.equal(unlike.codes, pages[1].codes)


@pytest.mark.parametrize("damping", [0.0, 0.01, 0.5])
def test_page_and_fast_schedule_agree_where_damping_must_grow(damping):
    weight, hessian = layer()
    indefinite = (hessian - 0.05 * hessian.diagonal().mean() * torch.eye(256)).double()
    pages = [page.quantize_layer(weight, hessian=indefinite, damping=damping) for page in (gptq, gptq_fast)]
    assert_same(*pages)
    assert pages[0].damping == max(damping, 0.1)


def test_page_and_fast_schedule_agree_on_a_layer_in_float32():
    weight, hessian = layer(64, 512)
    pages = [page.quantize_layer(weight, hessian=hessian) for page in (gptq, gptq_fast)]
    assert (pages[0].codes == pages[1].codes).float().mean() > 0.999
    assert torch.equal(pages[0].scale, pages[1].scale)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [32, 64, 128, -1])
@pytest.mark.parametrize("act_order", ORDERS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_output_error_is_below_rounding_s(bits, group_size, act_order, symmetric):
    weight, hessian = layer()
    settings = dict(bits=bits, group_size=group_size, symmetric=symmetric)
    ours = gptq_fast.quantize_layer(weight, **settings, hessian=hessian, act_order=act_order)
    plain = rtn.quantize_layer(weight, **settings)
    assert output_error(ours, weight, hessian) < 0.7 * output_error(plain, weight, hessian)
    assert (ours.g_idx is not None) == (act_order == "full" and group_size != -1)
    assert int(ours.codes.max()) < 2**bits and ours.scale.shape == plain.scale.shape
    assert torch.equal(ours.scale, ours.scale.to(torch.float16).float())


def target_error(quantized, weight, inputs, target) -> float:
    """Mean squared distance of the quantized weight on its inputs from the weight on the target's inputs."""
    return float((inputs @ quantized.dequantize().T - target @ weight.T).square().mean())


@pytest.mark.parametrize("act_order", ORDERS)
@pytest.mark.parametrize("bits", [3, 8])
def test_drift_feedback_aims_at_the_output_of_the_unquantized_inputs(bits, act_order):
    weight, _ = layer()
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(4096, 256, generator=generator) @ torch.randn(256, 256, generator=generator) / 16
    inputs = target + 0.2 * torch.randn(4096, 256, generator=generator) * target.abs()
    inputs = inputs + 0.1 * target.roll(1, dims=1)
    hessian, drift = inputs.T @ inputs / 4096, (target - inputs).T @ inputs / 4096
    plain = gptq_fast.quantize_layer(weight, bits=bits, hessian=hessian, act_order=act_order)
    ours = gptq_fast.quantize_layer(weight, bits=bits, hessian=hessian, drift=drift, act_order=act_order)
    away = gptq_fast.quantize_layer(weight, bits=bits, hessian=hessian, drift=-drift, act_order=act_order)
    errors = [target_error(each, weight, inputs, target) for each in (ours, plain, away)]
    assert errors[0] < 0.98 * errors[1] < errors[1] < 0.98 * errors[2]


def test_whole_drift_feedback_reaches_least_squares_where_rounding_is_fine():
    """Column j's missing output, made up by the later columns: the closed form solved by lstsq."""
    generator = torch.Generator().manual_seed(2)
    target = torch.randn(512, 24, generator=generator).double()
    inputs = target + 0.3 * torch.randn(512, 24, generator=generator).double()
    hessian, drift = inputs.T @ inputs / 512, (target - inputs).T @ inputs / 512
    P = drift_feedback(drift, torch.linalg.cholesky(hessian.flip(0, 1)).flip(0, 1), strength=1.0)
    for j in (0, 7, 22):
        moved = (target - inputs)[:, j]
        best = torch.linalg.lstsq(inputs[:, j + 1 :], moved[:, None]).solution[:, 0]
        assert torch.allclose(P[j, j + 1 :], best, atol=1e-6) and not P[j, : j + 1].any()


def test_rounding_is_what_identical_uncorrelated_inputs_give():
    weight, _ = layer()
    ours = gptq_fast.quantize_layer(weight, bits=3, hessian=torch.eye(256), act_order="none", search=False)
    assert torch.equal(ours.codes, rtn.quantize_layer(weight, bits=3).codes)


def test_g_idx_gives_each_column_its_group_in_order_of_visit():
    weight, hessian = layer()
    ours = gptq_fast.quantize_layer(weight, bits=4, group_size=32, hessian=hessian, act_order="full")
    order = column_order(hessian.diagonal(), 32, "full")
    assert torch.equal(ours.g_idx[order], (torch.arange(256) // 32).to(torch.int32))
    shuffled = ours.g_idx.clone()
    ours.g_idx = shuffled.roll(1)
    broken = output_error(ours, weight, hessian)
    ours.g_idx = shuffled
    assert output_error(ours, weight, hessian) < 0.1 * broken


def test_group_aware_order_keeps_groups_together():
    order = column_order(torch.rand(96), 32, "group-aware")
    assert sorted(order.tolist()) == list(range(96))
    assert all(len(set((chunk // 32).tolist())) == 1 for chunk in order.split(32))
    with pytest.raises(ValueError, match="unknown act_order"):
        column_order(torch.rand(96), 32, "sorted")


@pytest.mark.parametrize("act_order", ORDERS)
def test_dead_columns_are_rounded_not_zeroed(act_order):
    weight, hessian = layer()
    dead = [0, 17, 200]
    hessian[dead], hessian[:, dead] = 0, 0
    ours = gptq_fast.quantize_layer(
        weight, bits=8, group_size=64, hessian=hessian, act_order=act_order, search=False
    )
    error = (ours.dequantize() - weight)[:, dead].abs()
    # half a step, and half a step more for the range lost by rounding the scale to 8 significant bits
    assert (error <= ours.per_column(ours.scale)[:, dead] * 1.01).all()
    assert ours.damping == 0.01


def test_damping_grows_until_the_factorization_succeeds():
    weight, hessian = layer()
    indefinite = hessian - 0.05 * hessian.diagonal().mean() * torch.eye(256)
    factor, damping = upper_factor(indefinite, 0.01)
    assert damping == pytest.approx(0.1)
    damped = indefinite + damping * indefinite.diagonal().mean() * torch.eye(256)
    assert torch.allclose(factor @ factor.T, damped, atol=1e-5 * float(damped.max()))
    assert torch.equal(factor, factor.triu())


def test_no_damping_asked_for_grows_too():
    inputs = torch.randn(5, 256)
    _, damping = upper_factor(inputs.T @ inputs / 5, 0.0)
    assert damping > 0


@pytest.mark.parametrize("page", [gptq, gptq_fast])
@pytest.mark.parametrize("hessian", [-torch.eye(256), torch.zeros(256, 256)])
def test_hopeless_hessian_falls_back_to_rounding_and_says_so(page, hessian):
    weight, _ = layer()
    ours = page.quantize_layer(weight, bits=4, hessian=hessian, act_order="none", search=False)
    assert ours.damping is None
    assert torch.equal(ours.codes, rtn.quantize_layer(weight, bits=4).codes)


def test_singular_hessian_of_few_tokens_works():
    weight, _ = layer()
    inputs = torch.randn(5, 256)
    hessian = inputs.T @ inputs / 5
    ours = gptq_fast.quantize_layer(weight, bits=4, hessian=hessian)
    assert output_error(ours, weight, hessian) < 0.1 * output_error(
        rtn.quantize_layer(weight), weight, hessian
    )


def test_bfloat16_weight_gives_the_codes_of_its_values():
    weight, hessian = layer()
    half = weight.to(torch.bfloat16)
    ours = gptq_fast.quantize_layer(half, bits=4, hessian=hessian)
    assert torch.equal(ours.codes, gptq_fast.quantize_layer(half.float(), bits=4, hessian=hessian).codes)


def test_a_parameter_gives_the_codes_of_its_values():
    weight, hessian = layer(8, 64)
    found = gptq_fast.quantize_layer(torch.nn.Parameter(weight), group_size=32, hessian=hessian)
    expected = gptq_fast.quantize_layer(weight, group_size=32, hessian=hessian)
    assert torch.equal(found.codes, expected.codes) and not found.scale.requires_grad


@pytest.mark.parametrize("group, width", [(2, 2), (32, 16), (43, 43), (96, 12), (128, 16), (172, 43)])
def test_groups_are_blocks_times_a_power_of_two(group, width):
    blocks = group // width
    assert block_width(group) == width and blocks * width == group and blocks & (blocks - 1) == 0


@pytest.mark.parametrize("page", [gptq, gptq_fast])
def test_bad_input_is_named(page):
    weight, hessian = layer()
    with pytest.raises(ValueError, match="group size 100 does not divide 256"):
        page.quantize_layer(weight, group_size=100, hessian=hessian)
    with pytest.raises(ValueError, match="1 bits are outside"):
        page.quantize_layer(weight, bits=1, hessian=hessian)
    hessian[3, 3] = float("nan")
    with pytest.raises(ValueError, match="1 NaN"):
        page.quantize_layer(weight, hessian=hessian)
