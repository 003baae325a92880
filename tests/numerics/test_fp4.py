"""MXFP4 and NVFP4 equal compressed-tensors: ties, scales, packed bytes, dequantized values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics.code_books import E2M1, fp4_values
from qcourse.numerics.fp4 import (
    pack_fp4,
    power_of_two,
    quantize_mxfp4,
    quantize_nvfp4,
    round_fp4,
    unpack_fp4,
)
from tests.engines import require
from tests.numerics.library import compressed_tensors
from tests.numerics.samples import DTYPES, KINDS, NOT_FINITE, sample, spoiled

HARD = torch.tensor([0, 0.25, 0.26, 0.75, 1.25, 1.26, 1.75, 2.5, 2.51, 3.5, 5.0, 5.01, 6.0, 6.0, 0.1, -0.0])
SETTINGS = {
    "mxfp4": {"strategy": "group", "group_size": 32, "scale_dtype": torch.uint8, "zp_dtype": torch.uint8},
    "nvfp4": {"strategy": "tensor_group", "group_size": 16, "scale_dtype": torch.float8_e4m3fn},
}
QUANTIZE = {"mxfp4": quantize_mxfp4, "nvfp4": quantize_nvfp4}


def ordinary(rows: int = 16) -> torch.Tensor:
    """Weights [rows, 64] of the usual spread."""
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))


def tie_rows() -> torch.Tensor:
    """Rows [4, 64] with every tie of the grid; 6 * 448 makes NVFP4's divisor 1, so that ties stay exact."""
    ties = torch.cat([HARD, -HARD, HARD * 4, -HARD / 8])[None].repeat(4, 1)
    ties[3] *= 64
    ties[3, 17] = 6 * 448
    return ties


WEIGHTS = {
    "ordinary": ordinary(),
    "ties": tie_rows(),
    "ties and ordinary": torch.cat([tie_rows(), ordinary()]),
    "zeros": torch.zeros(2, 64),
    "a zero row": torch.cat([ordinary(), torch.zeros(1, 64)]),
    "a tiny row": torch.cat([ordinary(), ordinary() * 1e-20, ordinary() * 1e-38]),
    "tiny": ordinary() * 1e-20,
    "denormal": ordinary() * 1e-39,
    "smallest": sample("smallest", 4, 64, 0),
    "one outlier": torch.cat([ordinary(), torch.full((1, 64), 2.5e38)]),
    "constant": torch.full((2, 64), -0.37),
    "rising": ordinary() * 2.0 ** torch.arange(-8, 8)[:, None],
}


def test_rounding_equals_compressed_tensors():
    require("compressed-tensors", "mxfp4")
    from compressed_tensors.compressors.nvfp4 import helpers
    from compressed_tensors.quantization.utils import fp4_utils

    values = torch.cat([torch.linspace(-6, 6, 4000), HARD, -HARD]).reshape(1, -1)
    theirs = fp4_utils.cast_to_fp4(values.clone())
    codes = round_fp4(values)
    assert torch.equal(fp4_values(codes), theirs)
    assert torch.equal(pack_fp4(codes), helpers.pack_fp4_to_uint8(theirs))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_equal_to_compressed_tensors(kind, name):
    """Scales, divisor, packed bytes and values; nothing of ours goes into theirs, and no row is left out."""
    weight, ours = WEIGHTS[name], QUANTIZE[kind](WEIGHTS[name])
    theirs = compressed_tensors(weight, kind, num_bits=4, type="float", **SETTINGS[kind])
    from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8

    assert torch.equal(ours.scale, theirs.scale.float())
    if kind == "nvfp4":
        assert torch.equal(ours.global_scale.reshape(1), theirs.divisor)
    assert torch.equal(pack_fp4(ours.codes), pack_fp4_to_uint8(theirs.codes))
    assert torch.equal(ours.dequantize(), theirs.dense)


def test_ties_of_the_weights_reach_the_rounding_as_ties():
    for kind in QUANTIZE:
        quantized = QUANTIZE[kind](WEIGHTS["ties"])
        scale = quantized.scale / (1 if quantized.global_scale is None else quantized.global_scale)
        scaled = (WEIGHTS["ties"] / scale.repeat_interleave(quantized.group_size, 1)).abs()
        for tie in (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0):
            assert (scaled == tie).any(), (kind, tie)


def test_stored_bits():
    weight = torch.randn(64, 256)
    assert quantize_mxfp4(weight).bits_per_weight() == 4.25
    assert quantize_nvfp4(weight).bits_per_weight() == 4.5 + 32 / weight.numel()


def draw_weights(test):
    """Run a property test on weights of every kind, shape and dtype, with outliers up to float32's end."""
    drawn = {"kind": st.sampled_from(KINDS), "dtype": st.sampled_from(DTYPES), "seed": st.integers(0, 99)}
    shapes = {
        "rows": st.integers(1, 5),
        "groups": st.integers(1, 4),
        "outlier": st.sampled_from([3e4, 2.5e38]),
    }

    @settings(max_examples=100, deadline=None)
    @given(**drawn, **shapes)
    def run(kind, rows, groups, seed, dtype, outlier):
        outlier = 3e4 if dtype == torch.float16 else outlier
        test(sample(kind, rows, 32 * groups, seed, dtype, outlier))

    run.__name__ = test.__name__
    return run


def check_codes(quantize, weight):
    """Check nearest codes and symmetric signs; return the codes, values, absmax and error of each group."""
    quantized = quantize(weight)
    dense, weight = quantized.dequantize(), weight.float()
    scale = quantized.scale / (1 if quantized.global_scale is None else quantized.global_scale)
    scaled = (weight / scale.repeat_interleave(quantized.group_size, 1)).clamp(-6, 6).double()
    grid = torch.tensor([*E2M1, *(-value for value in E2M1)]).double()
    nearest = (scaled[..., None] - grid).abs().amin(-1)
    assert torch.equal((fp4_values(quantized.codes) - scaled).abs(), nearest)
    assert dense.isfinite().all() and quantized.codes.max() < 16
    assert torch.equal(unpack_fp4(pack_fp4(quantized.codes)), quantized.codes)
    assert torch.equal(quantize(-weight).dequantize(), -dense)
    both = torch.stack([weight, dense - weight]).unflatten(2, (-1, quantized.group_size)).abs().amax(-1)
    return quantized, dense, *both


@draw_weights
def test_mxfp4_errs_by_a_fifth_of_the_absmax_and_keeps_its_numbers(weight):
    _, dense, absmax, error = check_codes(quantize_mxfp4, weight)
    # A fifth: 5 becomes 4. The least scale of all is 2**-127, and a quarter of it becomes zero.
    assert (error <= (absmax / 5).clamp(min=2.0**-129) * (1 + 1e-6)).all()
    assert torch.equal(quantize_mxfp4(dense).dequantize(), dense)


@draw_weights
def test_nvfp4_errs_by_a_fifth_of_the_absmax_and_keeps_its_numbers(weight):
    quantized, dense, absmax, error = check_codes(quantize_nvfp4, weight)
    divisor = quantized.global_scale
    lost = (dense == 0).unflatten(1, (-1, 16)).all(-1)
    assert (absmax[lost] <= 6 * 2.0**-10 / divisor * (1 + 1e-6)).all()  # their FP8 scale would be 0
    subnormal = (quantized.scale < 2.0**-6) & ~lost  # an FP8 scale of less than four significant bits
    assert (error[subnormal] <= absmax[subnormal] / 3 * (1 + 1e-4)).all()
    fine = ~lost & ~subnormal
    assert (error[fine] <= absmax[fine] / 5).all()
    again = quantize_nvfp4(dense, divisor).dequantize()
    kept = (~subnormal).repeat_interleave(16, 1)
    assert torch.equal(again[kept], dense[kept])


def test_power_of_two_rounds_up_from_a_mantissa_of_seven_quarters():
    assert power_of_two(torch.tensor([4.0, 6.9, 7.0, 8.0])).tolist() == [1.0, 1.0, 2.0, 2.0]


def test_the_largest_float32_stays_finite():
    weight = torch.full((1, 32), torch.finfo(torch.float32).max)
    assert quantize_mxfp4(weight).dequantize().isfinite().all()  # compressed-tensors' scale is infinite here


@pytest.mark.parametrize("format", QUANTIZE)
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_bad_input_is_named(format, bad):
    weight, words = spoiled(bad, (2, 32))
    with pytest.raises(ValueError, match=words):
        QUANTIZE[format](weight)
    size, columns = (32, 48) if format == "mxfp4" else (16, 40)
    with pytest.raises(ValueError, match=f"group size {size} does not divide {columns}"):
        QUANTIZE[format](torch.randn(4, columns))
