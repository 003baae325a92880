"""KV-cache formats: equal to plain references, error by granularity, saturation, the bytes of a token."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics.fp8 import LARGEST
from qcourse.numerics.kv import (
    DIMENSIONS,
    fake_quantize_kv_fp8,
    fake_quantize_kv_int,
    kv_absmax,
    kv_bytes_per_token,
    kv_scale,
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CONTENTS = ("normal", "zeros", "constant", "denormal", "outlier", "zero heads")


def keys() -> torch.Tensor:
    """Keys [2, 4, 32, 64] with two outlier channels, as real keys have."""
    values = torch.randn(2, 4, 32, 64, generator=torch.Generator().manual_seed(0))
    values[..., 7] *= 30
    values[..., 40] *= 20
    return values


def error(values: torch.Tensor, other: torch.Tensor) -> float:
    return float((values - other).square().mean().sqrt())


def test_keys_want_a_scale_a_channel_in_int8():
    values = keys()
    by = {
        kind: error(values, fake_quantize_kv_int(values, kind))
        for kind in ("tensor", "head", "token", "channel")
    }
    assert by["channel"] < 0.4 * by["token"] and by["token"] < by["tensor"]
    assert fake_quantize_kv_int(values.to(torch.bfloat16)).dtype == torch.bfloat16


def test_fp8_hardly_minds_outliers():
    values = keys()
    relative = (fake_quantize_kv_fp8(values) - values).abs() / values.abs().clamp(min=0.05)
    assert relative.max() < 0.07
    e5m2 = fake_quantize_kv_fp8(values, dtype=torch.float8_e5m2)
    assert error(values, e5m2) > 1.5 * error(values, fake_quantize_kv_fp8(values))


def test_uncalibrated_scale_of_one_saturates_at_448():
    values = torch.tensor([1000.0, -1000.0, 3.0]).reshape(1, 1, 1, 3)
    assert fake_quantize_kv_fp8(values, scale=1.0).flatten().tolist() == [448, -448, 3]


def test_scales_have_the_shape_of_their_granularity():
    shapes = {kind: tuple(kv_absmax(keys(), kind).shape) for kind in ("tensor", "head", "token", "channel")}
    assert shapes == {
        "tensor": (1, 1, 1, 1),
        "head": (1, 4, 1, 1),
        "token": (2, 4, 32, 1),
        "channel": (1, 4, 1, 64),
    }
    with pytest.raises(ValueError, match="unknown granularity 'row'"):
        kv_absmax(keys(), "row")


def test_bytes_of_a_token():
    assert kv_bytes_per_token(32, 8, 128, 16) == 131072  # Llama-3.1-8B in bf16
    assert kv_bytes_per_token(32, 8, 128, 8) == 65536
    assert kv_bytes_per_token(32, 8, 128, 8, "token") == 65536 + 2 * 32 * 8 * 2


def test_zeros_stay_zero():
    assert fake_quantize_kv_int(torch.zeros(1, 1, 2, 4)).abs().max() == 0
    assert fake_quantize_kv_fp8(torch.zeros(1, 1, 2, 4)).abs().max() == 0


@st.composite
def states(draw) -> torch.Tensor:
    """Keys or values of any small shape, dtype and content."""
    shape = [draw(st.integers(1, limit)) for limit in (3, 4, 17, 33)]
    dtype, content = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(CONTENTS))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    if content == "zeros":
        values *= 0
    elif content == "constant":
        values = torch.full(shape, draw(st.sampled_from([1.0, -0.1, 448.0, 3e4])))
    elif content == "denormal":
        values *= 4 * torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    elif content == "outlier":
        values[0, 0, 0, 0] = -torch.finfo(dtype).max
    elif content == "zero heads":
        values[:, 0] = 0
    return values.to(dtype)


def scale_of(values: torch.Tensor, granularity: str, largest: float) -> np.ndarray:
    """Return the scales as plain numpy computes them, in float32, kept dimensions."""
    absmax = np.abs(values.float().numpy()).max(axis=DIMENSIONS[granularity], keepdims=True)
    return np.maximum(absmax, np.float32(1e-12)) / np.float32(largest)


def times(codes: np.ndarray, scale: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Return codes times scales, multiplied in double precision, saturated and rounded to `dtype`."""
    product = (codes.astype(np.float64) * scale).clip(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return torch.from_numpy(product.astype(np.float32)).to(dtype)


def e4m3_grid() -> np.ndarray:
    """Return the non-negative values of E4M3 by its definition: 1-4-3 bits, bias 7, no infinity, 448 last."""
    normal = [
        (1 + mantissa / 8) * 2.0 ** (exponent - 7) for exponent in range(1, 16) for mantissa in range(8)
    ]
    return np.array([mantissa / 8 * 2.0**-6 for mantissa in range(8)] + normal[:-1])


def nearest_e4m3(values: np.ndarray) -> np.ndarray:
    """Round each double to the nearest value of the grid, ties to the even code, what exceeds it to 448."""
    grid, size = e4m3_grid(), np.abs(values)
    above = np.searchsorted(grid, size).clip(1, len(grid) - 1)
    up, down = grid[above] - size, size - grid[above - 1]
    choice = np.where((up < down) | ((up == down) & (above % 2 == 0)), above, above - 1)
    return np.copysign(grid[choice], values)


@settings(max_examples=150, deadline=None)
@given(values=states(), granularity=st.sampled_from(list(DIMENSIONS)))
def test_int8_equals_plain_numpy_and_is_within_half_a_step(values, granularity):
    scale = scale_of(values, granularity, 127)
    codes = np.rint(values.float().numpy() / scale).clip(-127, 127)
    wanted = times(codes, scale, values.dtype)
    found = fake_quantize_kv_int(values, granularity)
    assert found.dtype == values.dtype and torch.equal(found, wanted)
    assert found.isfinite().all()
    error = np.abs(found.double().numpy() - values.double().numpy())
    rounding = np.abs(values.double().numpy()) * torch.finfo(values.dtype).eps
    rounding = rounding + torch.finfo(values.dtype).smallest_normal * torch.finfo(values.dtype).eps
    assert (error <= scale.astype(np.float64) * 0.5 * (1 + 1e-5) + rounding).all()


@settings(max_examples=150, deadline=None)
@given(values=states(), granularity=st.sampled_from(list(DIMENSIONS)))
def test_fp8_equals_the_nearest_value_of_the_format_s_definition(values, granularity):
    scale = scale_of(values, granularity, 448)
    scaled = (values.float().numpy() / scale).astype(np.float64)
    wanted = times(nearest_e4m3(scaled), scale, values.dtype)
    found = fake_quantize_kv_fp8(values, granularity)
    assert found.dtype == values.dtype and torch.equal(found, wanted)
    assert found.isfinite().all()


@settings(max_examples=50, deadline=None)
@given(dtype=st.sampled_from(DTYPES), kind=st.sampled_from([torch.float8_e4m3fn, torch.float8_e5m2]),
       size=st.floats(1e-4, 1.0), seed=st.integers(0, 99))  # fmt: skip
def test_fp8_with_a_scale_of_one_is_torch_s_cast_where_it_is_in_range(dtype, kind, size, seed):
    values = torch.rand(2, 3, 5, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    values = (values * size * min(LARGEST[kind], 60000)).to(dtype)
    assert torch.equal(fake_quantize_kv_fp8(values, dtype=kind, scale=1.0), values.to(kind).to(dtype))


def test_ties_go_to_the_even_code():
    halves = torch.tensor([[[[0.5, 1.5, 2.5, -3.5, 126.5, 127.0]]]])
    assert fake_quantize_kv_int(halves, scale=1.0).flatten().tolist() == [0, 2, 2, -4, 126, 127]
    between = torch.tensor([[[[17.0, 19.0, -21.0, 432.0]]]])  # steps of 2 above 16, of 32 above 256
    assert fake_quantize_kv_fp8(between, scale=1.0).flatten().tolist() == [16, 20, -20, 448]


@pytest.mark.parametrize("quantize", [fake_quantize_kv_fp8, fake_quantize_kv_int])
def test_values_that_are_not_finite_are_refused_by_name(quantize):
    values = keys()
    values[0, 0, 0, :2] = float("nan")
    values[1, 3, 5, 0] = float("-inf")
    with pytest.raises(ValueError, match="2 NaN and 1 infinite values of 16384"):
        quantize(values)
    with pytest.raises(ValueError, match="1 infinite"):
        quantize(values[1:], scale=1.0)


def test_stored_scales_are_what_bf16_and_fp16_hold_and_lose_nothing():
    absmax = torch.tensor([0.0, 1e-9, 0.3, 12.345, 1000.0, 3e5])
    for dtype, largest in (("fp8", 448), ("int8", 127)):
        scale = kv_scale(absmax, dtype)
        for held in (torch.bfloat16, torch.float16):
            assert torch.equal(scale.to(held).float(), scale)
        assert scale[0] == 1 and (scale[2:] * largest / absmax[2:] - 1).abs().max() <= 2**-8
    # a scale rounded down puts the largest key above 448, never so far that it loses more than rounding
    values = absmax[2:].reshape(-1, 1, 1, 1)
    quantized = fake_quantize_kv_fp8(values, scale=kv_scale(values))
    assert ((quantized - values).abs() <= values * 2**-4).all()
    with pytest.raises(ValueError, match="unknown KV cache dtype 'int4'; known are fp8, int8"):
        kv_scale(absmax, "int4")


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("granularity", DIMENSIONS)
def test_fewer_bits_are_nearest_multiples_of_a_coarser_scale(bits, granularity):
    values, largest = keys(), 2 ** (bits - 1) - 1
    step = kv_absmax(values, granularity) / largest
    codes = fake_quantize_kv_int(values, granularity, bits=bits) / step
    assert (codes - codes.round()).abs().max() < 1e-3 and codes.round().abs().max() == largest
    assert ((values / step - codes).abs() <= 0.5 + 1e-3).all()


def test_first_tokens_stay_exact_and_stretch_no_scale():
    values = keys()
    values[:, :, 0] *= 50
    kept = fake_quantize_kv_int(values, "channel", bits=4, exact_first=1)
    assert torch.equal(kept[:, :, :1], values[:, :, :1])
    assert torch.equal(kept[:, :, 1:], fake_quantize_kv_int(values[:, :, 1:], "channel", bits=4))
    assert torch.equal(fake_quantize_kv_int(values, "channel", bits=4, exact_first=99), values)


@pytest.mark.parametrize("bits", [1, 9])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match=f"{bits} bits; integers of a KV cache have 2 to 8"):
        fake_quantize_kv_int(keys(), bits=bits)
