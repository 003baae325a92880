"""NF4 and FP4 equal bitsandbytes: code books, codes, nested statistics, dequantized values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import quantize_codebook
from qcourse.numerics.code_books import code_book
from qcourse.numerics.codebook import BLOCK_SIZES, dynamic_map
from tests.engines import require
from tests.numerics.samples import DTYPES, KINDS, NOT_FINITE, sample, spoiled


@pytest.fixture
def bitsandbytes():
    require("bitsandbytes", "nf4 and fp4")
    from bitsandbytes import functional

    return functional


def bitsandbytes_codes(packed: torch.Tensor) -> torch.Tensor:
    """Return the codes in the bytes of bitsandbytes, which holds the earlier one in the high half."""
    return torch.stack([packed.reshape(-1) >> 4, packed.reshape(-1) & 15], 1).reshape(-1)


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
        assert torch.equal(ours.codes.reshape(-1), bitsandbytes_codes(packed)[: weight.numel()])
        if nested:
            assert torch.equal(ours.nested.codes, state.absmax)
            assert torch.equal(ours.nested.absmax, state.state2.absmax)
            assert torch.equal(ours.nested.offset, state.offset)
        with torch.compiler.set_stance("force_eager"):
            theirs = bitsandbytes.dequantize_4bit(packed, state)
        assert torch.equal(ours.dequantize().to(dtype).reshape(1, -1), theirs)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("block_size", [64, 128, 4096])
def test_ties_equal_bitsandbytes(bitsandbytes, kind, block_size):
    """On every value of the code book, every midpoint, and the float32 on each side of those."""
    values = code_book(kind).unique()
    marks = torch.cat([values, (values[1:] + values[:-1]) / 2])
    beside = [torch.nextafter(marks, torch.tensor(way)) for way in (-1.0, 1.0)]
    weight = torch.cat([torch.ones(1), marks, *beside])
    weight = torch.nn.functional.pad(weight, (0, 128 - len(weight)), value=1.0)[None]
    weight[0, 64] = -1.0  # the largest magnitude of every block is 1
    packed, _ = bitsandbytes.quantize_4bit(
        weight, blocksize=block_size, quant_type=kind, compress_statistics=False
    )
    ours = quantize_codebook(weight, block_size, kind, False)
    assert torch.equal(ours.codes.reshape(-1), bitsandbytes_codes(packed))


@pytest.mark.parametrize("code_book_kind", ["nf4", "fp4"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nested", [True, False])
def test_extremes_equal_bitsandbytes(bitsandbytes, code_book_kind, kind, dtype, nested):
    weight = sample(kind, 6, 64, 1, dtype, outlier=3e4 if dtype == torch.float16 else 1e30)
    packed, state = bitsandbytes.quantize_4bit(
        weight.reshape(1, -1), blocksize=64, quant_type=code_book_kind, compress_statistics=nested
    )
    ours = quantize_codebook(weight, 64, code_book_kind, nested)
    assert torch.equal(ours.codes.reshape(-1), bitsandbytes_codes(packed))
    if nested:
        assert torch.equal(ours.nested.absmax, state.state2.absmax)
        assert torch.equal(ours.nested.offset, state.offset)
    else:
        assert torch.equal(ours.scale.reshape(-1), state.absmax)
    if kind in ("denormal", "smallest") and dtype != torch.float16:
        return  # its 16-bit instructions read denormals as zeros, its nesting divides by them
    if nested:
        assert torch.equal(ours.nested.codes, state.absmax)
    with torch.compiler.set_stance("force_eager"):
        theirs = bitsandbytes.dequantize_4bit(packed, state)
    assert torch.equal(ours.dequantize().to(dtype).reshape(1, -1), theirs)


def test_bits_per_weight_of_the_paper():
    weight = torch.randn(1024, 1024)
    assert quantize_codebook(weight, double_quantization=False).bits_per_weight() == 4.5
    assert quantize_codebook(weight).bits_per_weight() == pytest.approx(4.127, abs=1e-3)


WIDEST_GAP = {"nf4": 1 - 0.6961928009986877, "fp4": 1 - 0.6666666667}


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), rows=st.integers(1, 6), columns=st.integers(1, 90),
       seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES), book=st.sampled_from(["nf4", "fp4"]),
       block_size=st.sampled_from([32, 64, 4096]), nested=st.booleans(), large=st.booleans())  # fmt: skip
def test_any_shape_stays_within_half_a_gap_of_its_block(
    kind, rows, columns, seed, dtype, book, block_size, nested, large
):
    outlier = 1e37 if large and dtype != torch.float16 else 3e4
    weight = sample(kind, rows, columns, seed, dtype, outlier)
    quantized = quantize_codebook(weight, block_size, book, nested)
    dense = quantized.dequantize()
    assert quantized.codes.shape == weight.shape and quantized.codes.max() < 16 and dense.isfinite().all()
    flat = torch.nn.functional.pad(weight.float().reshape(-1), (0, -weight.numel() % block_size))
    absmax = flat.reshape(-1, block_size).abs().amax(1)
    stored, slack = quantized.scale.reshape(-1), 1e-38  # smaller blocks are scaled as if they reached that
    if nested:  # half the widest gap of the 8-bit map, and the lookup's step
        assert ((stored - absmax).abs() <= 0.0075 * quantized.nested.absmax.max() + slack).all()
    else:
        assert torch.equal(stored, absmax)
    bound = absmax * WIDEST_GAP[book] / 2 * (1 + 1e-5) + (stored - absmax).abs() * (1 + 1e-5) + slack
    error = torch.nn.functional.pad((dense - weight.float()).reshape(-1), (0, len(flat) - weight.numel()))
    assert (error.reshape(-1, block_size).abs().amax(1) <= bound).all()
    if book == "fp4":  # NF4 has other values on each side; a tie goes down on both, to the same distance
        opposite = quantize_codebook(-weight, block_size, book, nested).dequantize()
        tied = opposite != -dense
        distance = (weight.float() - dense).abs()[tied], (weight.float() + opposite).abs()[tied]
        assert nested or torch.allclose(*distance, rtol=1e-5, atol=0)
        assert tied.sum() <= 0.02 * tied.numel() + 2
    if not nested and (absmax[absmax > 0] > 1e-37).all():
        assert torch.equal(quantize_codebook(dense, block_size, book, False).dequantize(), dense)


@pytest.mark.parametrize("book", ["nf4", "fp4"])
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_bad_input_is_named(book, bad):
    weight, words = spoiled(bad, (3, 5))
    with pytest.raises(ValueError, match=words):
        quantize_codebook(weight, kind=book)
    with pytest.raises(ValueError, match="block size 48 is none of 32, 64"):
        quantize_codebook(torch.randn(4, 48), 48, book)
