"""NF4 and FP4 equal bitsandbytes: code books, codes, nested statistics, dequantized values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import quantize_codebook
from qcourse.numerics.codebook import BLOCK_SIZES, code_book, dynamic_map


@pytest.fixture(scope="module")
def bitsandbytes():
    return pytest.importorskip("bitsandbytes.functional")


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_code_books_are_bitsandbytes(bitsandbytes, kind):
    assert torch.equal(code_book(kind), bitsandbytes.get_4bit_type(kind, device="cpu"))
    assert torch.equal(dynamic_map(), bitsandbytes.create_dynamic_map())


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nested", [True, False])
def test_equal_to_bitsandbytes_bit_for_bit(bitsandbytes, kind, block_size, dtype, nested):
    generator = torch.Generator().manual_seed(block_size)
    for shape in [(64, 256), (5, 172)]:
        weight = (torch.randn(shape, generator=generator) * torch.rand(shape[0], 1, generator=generator)).to(
            dtype
        )
        # One long row, because bitsandbytes' AVX-512 kernel misreads blocks that cross rows of a matrix.
        packed, state = bitsandbytes.quantize_4bit(
            weight.reshape(1, -1), blocksize=block_size, quant_type=kind, compress_statistics=nested
        )
        ours = quantize_codebook(weight, block_size, kind, nested)
        theirs = torch.stack([packed.reshape(-1) >> 4, packed.reshape(-1) & 15], 1).reshape(-1)[
            : weight.numel()
        ]
        assert torch.equal(ours.codes.reshape(-1), theirs)
        if nested:
            assert torch.equal(ours.extra["absmax_codes"], state.absmax)
            assert torch.equal(ours.extra["nested_absmax"], state.state2.absmax)
            assert torch.equal(ours.extra["offset"], state.offset)
        with torch.compiler.set_stance("force_eager"):
            theirs = bitsandbytes.dequantize_4bit(packed, state)
        assert torch.equal(ours.dequantize().to(dtype).reshape(1, -1), theirs)


def test_bits_per_weight_of_the_paper():
    weight = torch.randn(1024, 1024)
    assert quantize_codebook(weight, double_quantization=False).bits_per_weight() == 4.5
    assert quantize_codebook(weight).bits_per_weight() == pytest.approx(4.127, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 90), seed=st.integers(0, 99), nested=st.booleans(),
       scale=st.sampled_from([1.0, 1e-6, 1e6, 0.0]))  # fmt: skip
def test_any_shape_stays_within_half_a_gap_of_its_block(rows, columns, seed, nested, scale):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * scale
    quantized = quantize_codebook(weight, double_quantization=nested)
    assert quantized.codes.shape == weight.shape
    largest = weight.abs().max()
    slack = 0.04 if nested else 1e-6  # nested maxima are themselves rounded
    assert ((quantized.dequantize() - weight).abs() <= largest * (0.152 + slack)).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="block size 48 is none of 32, 64"):
        quantize_codebook(torch.randn(4, 48), 48)
    with pytest.raises(ValueError, match="1 NaN"):
        quantize_codebook(torch.tensor([[1.0, float("nan")]]))
