"""Codes in machine words: the bit layouts of GPTQ, AWQ and compressed-tensors files.

Three layouts, one idea. GPTQ packs consecutive input rows of the transposed weight into an int32,
lowest bits first; AWQ packs eight output columns in the order its kernel wants; compressed-tensors
packs along the input columns of the weight as it is. `codes` are always [out, in] offset binary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
PART = 2**18  # bytes handled at once


def pack_words(codes: Tensor, bits: int) -> Tensor:
    """Pack the last dimension into a little-endian stream of bits: int32 [..., ceil(n * bits / 32)].

    codes: non-negative integers below 2**bits. A code may straddle two words (3 bits: code 10 lies
    in words 0 and 1), as in GPTQ's 3-bit files; the last word is filled with zeros.
    """
    count = codes.shape[-1]
    codes = pad(codes.to(torch.uint8), (0, -count % 32)).contiguous()
    words = in_parts(join, codes, bits).view(torch.int32)
    return words[..., : -(-count * bits // 32)].contiguous()


def in_parts(step: Callable[[Tensor, int], Tensor], values: Tensor, bits: int) -> Tensor:
    """Apply `step` to some rows of uint8 [..., n] at a time: what it keeps meanwhile stays in cache."""
    rows = values.reshape(-1, values.shape[-1])
    parts = rows.split(max(1, PART // max(values.shape[-1], 1)))
    return torch.cat([step(part, bits) for part in parts]).reshape(*values.shape[:-1], -1)


def join(codes: Tensor, bits: int) -> Tensor:
    """Return eight codes, uint8 [..., 8 * n], as `bits` bytes, uint8 [..., bits * n]: neighbours first.

    An int64 holds eight codes a byte apart. Each step moves the upper of two neighbouring fields down to the
    lower, until all eight are one field of 8 * bits bits.
    """
    fields, width = codes.view(torch.int64), bits
    for space in (8, 16, 32):
        lower = fields & every(width, 2 * space)
        fields = (fields >> (space - width)).bitwise_and_(every(width, 2 * space, width)).bitwise_or_(lower)
        width *= 2
    return fields.view(torch.uint8).unflatten(-1, (-1, 8))[..., :bits].flatten(-2)


def unpack_words(packed: Tensor, bits: int, count: int | None = None) -> Tensor:
    """Undo `pack_words`: int32 [..., words] to uint8 [..., count], by default all that the words hold."""
    count = packed.shape[-1] * 32 // bits if count is None else count
    stored = pad(packed, (0, -packed.shape[-1] % bits)).contiguous().view(torch.uint8)
    return in_parts(split, stored, bits)[..., :count]


def split(stored: Tensor, bits: int) -> Tensor:
    """Undo `join`: uint8 [..., bits * n] to uint8 [..., 8 * n]."""
    fields = pad(stored.unflatten(-1, (-1, bits)), (0, 8 - bits)).view(torch.int64).squeeze(-1)
    for space in (32, 16, 8):
        width = bits * space // 8
        lower = fields & every(width, 2 * space)
        fields = (fields << (space - width)).bitwise_and_(every(width, 2 * space, space)).bitwise_or_(lower)
    return fields.view(torch.uint8)


def every(width: int, space: int, start: int = 0) -> int:
    """Return the int64 that has `width` bits set from bit `start` of each `space` bits on."""
    mask = sum((2**width - 1) << bit for bit in range(start, 64, space))
    return mask - 2**64 if mask >= 2**63 else mask


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
    eights = codes.to(torch.uint8).unflatten(0, (-1, 8))[:, list(AWQ_ORDER)]  # [out / 8, 8, in]
    planes = eights[:, 0::2] | eights[:, 1::2] << 4  # [out / 8, 4, in]: the bytes of each word
    return torch.stack(planes.unbind(1), -1).view(torch.int32).squeeze(-1).T.contiguous()


def unpack_awq(packed: Tensor) -> Tensor:
    """Undo `pack_awq`: int32 [in, out / 8] to uint8 [out, in]."""
    words = packed.T.clone(memory_format=torch.contiguous_format)
    planes = words.view(torch.uint8).unflatten(-1, (-1, 4)).movedim(-1, 1)  # [out / 8, 4, in]
    eights = planes.new_empty(len(words), 8, len(packed))
    eights[:, list(AWQ_ORDER[0::2])] = planes & 15
    eights[:, list(AWQ_ORDER[1::2])] = planes >> 4
    return eights.flatten(0, 1)


def pack_compressed_tensors(codes: Tensor, bits: int) -> Tensor:
    """Return compressed-tensors' weight_packed: int32 [out, ceil(in * bits / 32)] of offset-binary codes."""
    return pack_words(codes, bits)


def unpack_compressed_tensors(packed: Tensor, bits: int, columns: int) -> Tensor:
    """Return the codes, uint8 [out, columns], of compressed-tensors' weight_packed."""
    return unpack_words(packed, bits, columns).contiguous()
