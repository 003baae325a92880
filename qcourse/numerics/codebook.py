"""Four-bit code books: NF4 and bitsandbytes' FP4, with double quantization of the block maxima.

Blocks run over the flattened weight, so one may cross rows; all equals bitsandbytes 0.50 bit for bit,
but for nested maxima below 1e-38 (float32's denormals), which stand for nothing that a model holds.
"""

from functools import cache

import torch
from torch import Tensor

from qcourse.numerics.checks import check_finite
from qcourse.numerics.code_books import code_book, to_blocks
from qcourse.numerics.types import NestedAbsmax, QuantizedWeight

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
NESTED_BLOCK = 256


def quantize_codebook(
    weight: Tensor, block_size: int = 64, kind: str = "nf4", double_quantization: bool = True
) -> QuantizedWeight:
    """Scale each block of the flattened weight by its absmax and take the nearest code-book value.

    weight: [out, in], finite. Codes are uint8 indices [out, in]; scale holds the absmax that a reader
    sees, [out, n_blocks a row] where blocks end with rows, else [1, n_blocks].
    Raises ValueError for a block size that is no power of two from 32 to 4096, or values not finite.
    Source: Dettmers et al. 2023 (arXiv 2305.14314), sections 3 and 3.1; bitsandbytes 0.50 quantize_4bit.
    """
    check_finite(weight)
    if block_size not in BLOCK_SIZES:
        raise ValueError(f"block size {block_size} is none of {', '.join(map(str, BLOCK_SIZES))}")
    blocks = to_blocks(weight.float(), block_size)
    absmax = blocks.abs().amax(1)
    codes = nearest(scale_block(blocks, absmax), kind).reshape(-1)[: weight.numel()].reshape(weight.shape)
    nested = nest(absmax) if double_quantization else None
    rows = weight.shape[0] if weight.shape[1] % block_size == 0 else 1
    scale = (absmax if nested is None else unnest(nested)).reshape(rows, -1)
    scale_bits = 32 if nested is None else 8
    return QuantizedWeight(codes, scale, None, 4, block_size, kind, scale_bits=scale_bits, nested=nested)


def scale_block(blocks: Tensor, absmax: Tensor) -> Tensor:
    """Return blocks divided by their absmax, by multiplying with the reciprocal as bitsandbytes does."""
    return (blocks * (1.0 / absmax.clamp(min=1e-38))[:, None]).clamp_(-1, 1)


def nearest(scaled: Tensor, kind: str) -> Tensor:
    """Return the index of the nearest code-book value, uint8; a tie goes to the lower value."""
    values, order = code_book(kind, scaled.device).sort(stable=True)
    index = torch.bucketize(scaled, (values[:-1] + values[1:]) / 2)
    return order[index].to(torch.uint8)


def nest(absmax: Tensor) -> NestedAbsmax:
    """Quantize the block maxima themselves to 8 bits in blocks of 256, after taking off their mean."""
    offset = absmax.mean()
    blocks = to_blocks(absmax - offset, NESTED_BLOCK)
    nested_absmax = blocks.abs().amax(1)
    steps = ((scale_block(blocks, nested_absmax) + 1) * 32767.5 + 0.5).long()
    codes = dynamic_codes().to(steps.device)[steps] * (nested_absmax > 0)[:, None]
    return NestedAbsmax(codes.reshape(-1)[: absmax.numel()], nested_absmax, offset)


def unnest(nested: NestedAbsmax) -> Tensor:
    """Return the block maxima as a reader sees them: their 8-bit values times theirs, plus the offset."""
    values = dynamic_map().to(nested.codes.device)[nested.codes.reshape(-1).long()]
    blocks = to_blocks(values, NESTED_BLOCK) * nested.absmax[:, None]
    return blocks.reshape(-1)[: nested.codes.numel()] + nested.offset


@cache
def dynamic_codes() -> Tensor:
    """Return the 8-bit code of each of 65,536 even steps from -1 to 1, uint8.

    bitsandbytes' CPU library looks codes up in this table instead of searching the 256 values, so a value
    within 2**-16 of a midpoint may get the farther neighbour; its files are equal only if we do the same.
    """
    values = dynamic_map()
    steps = torch.arange(65536) / 32767.5 - 1
    return torch.bucketize(steps, (values[:-1] + values[1:]) / 2).to(torch.uint8)


@cache
def dynamic_map() -> Tensor:
    """Return the 256 rising values of bitsandbytes' signed dynamic 8-bit type.

    Decade 10**(e-6), e = 0..6, holds the 2**e midpoints of an even division of 0.1..1, with both signs;
    0 and 1 complete it.
    Source: Dettmers et al. 2022 (arXiv 2110.02861), section 1.3; arXiv 1511.04561.
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = 10 ** (exponent - 6) * (edges[:-1] + edges[1:]) / 2
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values))


@cache
def unsigned_dynamic_map() -> Tensor:
    """Return the 256 rising values of bitsandbytes' unsigned dynamic 8-bit type, for values from 0 to 1.

    Without a sign to store, decade 10**(e-6) holds 2**(e+1) midpoints. Source as `dynamic_map`.
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2 ** (exponent + 1) + 1)
        values += (10 ** (exponent - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
    return torch.tensor(sorted(values))
