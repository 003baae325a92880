"""Bit layouts: round trips for every width, words equal to those of the libraries that read them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.numerics import packing


def codes_of(rows: int, columns: int, bits: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 2**bits, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(2, 8), rows=st.integers(1, 4), columns=st.integers(1, 100), seed=st.integers(0, 99))
def test_words_round_trip(bits, rows, columns, seed):
    codes = codes_of(rows, columns, bits, seed)
    packed = packing.pack_words(codes, bits)
    assert packed.dtype == torch.int32 and packed.shape == (rows, -(-columns * bits // 32))
    assert torch.equal(packing.unpack_words(packed, bits, columns), codes)


@pytest.mark.parametrize("bits", range(2, 9))
def test_words_are_the_stream_of_bits(bits):
    codes = codes_of(3, 37, bits)
    for row, words in zip(codes.tolist(), packing.pack_words(codes, bits).tolist(), strict=True):
        stream = sum(code << (bits * index) for index, code in enumerate(row))
        assert stream == sum((word % 2**32) << (32 * index) for index, word in enumerate(words))


def test_four_bits_by_hand():
    assert packing.pack_words(torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]]), 4).tolist() == [[0x87654321 - 2**32]]


def test_three_bits_straddle_words_by_hand():
    codes = torch.zeros(1, 32, dtype=torch.uint8)
    codes[0, 10] = 0b101  # bits 30..32: two low bits end word 0, the high bit starts word 1
    assert packing.pack_words(codes, 3).tolist() == [[0b01 << 30, 1, 0]]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
def test_gptq_round_trip(bits, version):
    codes, zeros = codes_of(96, 64, bits), codes_of(96, 4, bits, 1).to(torch.int32)
    assert packing.pack_gptq(codes, bits).shape == (64 * bits // 32, 96)
    assert torch.equal(packing.unpack_gptq(packing.pack_gptq(codes, bits), bits), codes)
    packed = packing.pack_gptq_zeros(zeros, bits, version)
    assert packed.shape == (4, 96 * bits // 32)
    assert torch.equal(packing.unpack_gptq_zeros(packed, bits, version), zeros)


def test_gptq_version_1_stores_zero_minus_one():
    eights = torch.full((8, 1), 8, dtype=torch.int32)
    assert packing.pack_gptq_zeros(eights, 4, 1).item() == 0x77777777
    assert packing.pack_gptq_zeros(eights, 4, 2).item() == 0x88888888 - 2**32


def test_awq_word_holds_columns_in_kernel_order():
    codes = torch.arange(8, dtype=torch.uint8)[:, None]  # output column i has code i
    assert packing.pack_awq(codes).item() == 0x75316420
    wide = codes_of(64, 48, 4)
    assert packing.pack_awq(wide).shape == (48, 8)
    assert torch.equal(packing.unpack_awq(packing.pack_awq(wide)), wide)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("columns", [64, 172, 7])
def test_equal_to_compressed_tensors(bits, columns):
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    codes = codes_of(6, columns, bits)
    signed = (codes.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
    packed = packing.pack_compressed_tensors(codes, bits)
    assert torch.equal(packed, helpers.pack_to_int32(signed, bits))
    assert torch.equal(packing.unpack_compressed_tensors(packed, bits, columns), codes)


def test_swapped_nibbles_are_noticed():
    codes = codes_of(8, 32, 4)
    packed = packing.pack_words(codes, 4)
    swapped = ((packed >> 4) & 0x0F0F0F0F) | ((packed & 0x0F0F0F0F) << 4)
    assert not torch.equal(packing.unpack_words(swapped, 4), codes)
