"""Codes in machine words: the bit layouts of GPTQ, AWQ and compressed-tensors files.

Three layouts, one idea. GPTQ packs consecutive input rows of the transposed weight into an int32,
lowest bits first; AWQ packs eight output columns in the order its kernel wants; compressed-tensors
packs along the input columns of the weight as it is. `codes` are always [out, in] offset binary.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack_words(codes: Tensor, bits: int) -> Tensor:
    """Pack the last dimension into a little-endian stream of bits: int32 [..., ceil(n * bits / 32)].

    codes: non-negative integers below 2**bits. A code may straddle two words (3 bits: code 10 lies
    in words 0 and 1), as in GPTQ's 3-bit files; the last word is filled with zeros.
    """
    count = codes.shape[-1]
    codes = pad(codes.to(torch.uint8), (0, -count % 32))
    words = pack_bytes(codes, bits) if 8 % bits == 0 else pack_straddling(codes, bits)
    return words[..., : -(-count * bits // 32)].contiguous()


def pack_bytes(codes: Tensor, bits: int) -> Tensor:
    """Pack 1, 2, 4 or 8 bits: fill each byte from its lowest bits, then view four bytes as a word."""
    per_byte = 8 // bits
    filled = codes[..., 0::per_byte].clone()
    for index in range(1, per_byte):
        filled |= codes[..., index::per_byte] << (bits * index)
    return filled.contiguous().view(torch.int32)


def pack_straddling(codes: Tensor, bits: int) -> Tensor:
    """Pack any number of bits, 32 codes into `bits` words at a time."""
    lanes = codes.to(torch.int32).unflatten(-1, (-1, 32))
    words = torch.zeros(*lanes.shape[:-1], bits, dtype=torch.int32)
    for index in range(32):
        word, shift = divmod(index * bits, 32)
        words[..., word] |= lanes[..., index] << shift
        if shift + bits > 32:
            words[..., word + 1] |= lanes[..., index] >> (32 - shift)
    return words.flatten(-2)


def unpack_words(packed: Tensor, bits: int, count: int | None = None) -> Tensor:
    """Undo `pack_words`: int32 [..., words] to uint8 [..., count], by default all that the words hold."""
    count = packed.shape[-1] * 32 // bits if count is None else count
    if 8 % bits == 0:
        return unpack_bytes(packed, bits)[..., :count]
    return unpack_straddling(pad(packed, (0, -packed.shape[-1] % bits)), bits)[..., :count]


def unpack_bytes(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack_bytes`."""
    stored, mask = packed.contiguous().view(torch.uint8), 2**bits - 1
    lanes = [(stored >> shift) & mask for shift in range(0, 8, bits)]
    return torch.stack(lanes, -1).flatten(-2)


def unpack_straddling(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack_straddling`; the mask also clears the sign that a right shift drags in."""
    words = packed.unflatten(-1, (-1, bits))
    codes = torch.empty(*words.shape[:-1], 32, dtype=torch.uint8)
    for index in range(32):
        word, shift = divmod(index * bits, 32)
        first = min(bits, 32 - shift)
        value = (words[..., word] >> shift) & (2**first - 1)
        if first < bits:
            value |= (words[..., word + 1] & (2 ** (bits - first) - 1)) << first
        codes[..., index] = value.to(torch.uint8)
    return codes.flatten(-2)


def pack_gptq(codes: Tensor, bits: int) -> Tensor:
    """Return GPTQ's qweight, int32 [in * bits / 32, out]."""
    return pack_words(codes, bits).T.contiguous()


def unpack_gptq(qweight: Tensor, bits: int, columns: int | None = None) -> Tensor:
    """Return the codes, uint8 [out, in], of GPTQ's qweight."""
    return unpack_words(qweight.T.contiguous(), bits, columns).contiguous()


def pack_gptq_zeros(zero_point: Tensor, bits: int, version: int = 1) -> Tensor:
    """Return GPTQ's qzeros, int32 [n_groups, out * bits / 32]; zero_point: [out, n_groups].

    Version 1 stores zero - 1 (a zero point of 0 wraps to 2**bits - 1), version 2 stores the zero itself.
    """
    stored = (zero_point.T - (1 if version == 1 else 0)) & (2**bits - 1)
    return pack_words(stored, bits)


def unpack_gptq_zeros(qzeros: Tensor, bits: int, version: int = 1, rows: int | None = None) -> Tensor:
    """Return zero points, int32 [out, n_groups].

    Version 1 adds 1 and wraps within `bits`, as GPTQModel does on loading; with symmetric grids
    (zero point 2**(bits-1)) readers that do not wrap agree.
    """
    zero = unpack_words(qzeros, bits, rows).to(torch.int32)
    return ((zero + 1) & (2**bits - 1) if version == 1 else zero).T.contiguous()


def pack_awq(codes: Tensor) -> Tensor:
    """Return AWQ's gemm layout of 4-bit codes: [out, in] to int32 [in, out / 8].

    Used for qweight and, from [out, n_groups], for qzeros. Source: AutoAWQ 0.2.9, WQLinear_GEMM.
    """
    eights = codes.T.unflatten(-1, (-1, 8))
    return pack_words(eights[..., list(AWQ_ORDER)].flatten(-2), 4)


def unpack_awq(packed: Tensor) -> Tensor:
    """Undo `pack_awq`: int32 [in, out / 8] to uint8 [out, in]."""
    eights = unpack_words(packed, 4).unflatten(-1, (-1, 8))
    inverse = torch.argsort(torch.tensor(AWQ_ORDER))
    return eights[..., inverse].flatten(-2).T.contiguous()


def pack_compressed_tensors(codes: Tensor, bits: int) -> Tensor:
    """Return compressed-tensors' weight_packed: int32 [out, ceil(in * bits / 32)] of offset-binary codes."""
    return pack_words(codes, bits)


def unpack_compressed_tensors(packed: Tensor, bits: int, columns: int) -> Tensor:
    """Return the codes, uint8 [out, columns], of compressed-tensors' weight_packed."""
    return unpack_words(packed, bits, columns).contiguous()
