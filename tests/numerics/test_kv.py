"""KV-cache formats: error by granularity, saturation, the bytes of a token."""

import pytest
import torch

from qcourse.numerics.kv import fake_quantize_kv_fp8, fake_quantize_kv_int8, kv_absmax, kv_bytes_per_token


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
        kind: error(values, fake_quantize_kv_int8(values, kind))
        for kind in ("tensor", "head", "token", "channel")
    }
    assert by["channel"] < 0.4 * by["token"] and by["token"] < by["tensor"]
    assert fake_quantize_kv_int8(values.to(torch.bfloat16)).dtype == torch.bfloat16


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
    assert fake_quantize_kv_int8(torch.zeros(1, 1, 2, 4)).abs().max() == 0
    assert fake_quantize_kv_fp8(torch.zeros(1, 1, 2, 4)).abs().max() == 0
