"""The one shape in which every method hands over a quantized linear layer."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

FLOAT8_KINDS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz")
CODE_BOOK_KINDS = ("nf4", "fp4")
PART = 2**19  # weights dequantized at once


@dataclass
class QuantizedWeight:
    """The weight of one linear layer in few bits, as pure tensors.

    codes: [out, in]; uint8 for integers in offset binary (0 .. 2**bits - 1), int8 for
        kind "int8", a float8 dtype for kind "float8_...", uint8 indices for code books.
    scale: float32 [out, n_groups] (or broadcastable, such as [1, 1]), holding exactly the
        values that the checkpoint stores, so fp16 and bf16 readers see the same weight.
    zero_point: int32 [out, n_groups], 2**(bits-1) for symmetric integers, None elsewhere.
    group_size: consecutive columns that share a scale; -1 is one scale a row.
    g_idx: int32 [in], the group of each column after act order; None when contiguous.
    extra: what one format needs beside these (`scale_bits`, `block_shape`, nested absmax).
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    bits: int
    group_size: int
    kind: str = "int"
    symmetric: bool = True
    g_idx: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def dequantize(self) -> Tensor:
        """Return the dense weight, float32 [out, in]; raises ValueError for an unknown kind."""
        if self.kind == "int":
            return self.integers() if self.contiguous_groups() else self.integers_by_column()
        if self.kind == "int8" or self.kind in FLOAT8_KINDS:
            return self.codes.float() * self.per_column(self.scale)
        if self.kind in CODE_BOOK_KINDS:
            from qcourse.numerics.codebook import dequantize_codebook

            return dequantize_codebook(self)
        if self.kind in ("mxfp4", "nvfp4"):
            from qcourse.numerics.fp4 import dequantize_fp4

            return dequantize_fp4(self)
        raise ValueError(f"unknown kind of quantized weight {self.kind!r}")

    def dequantize_to(self, dtype: torch.dtype) -> Tensor:
        """Return the dense weight in `dtype`, as `dequantize` gives it, rounded once.

        Integers times scales that `dtype` holds are multiplied in it at once: a sixth of the memory traffic.
        """
        exact = self.kind == "int" and self.contiguous_groups() and dtype in (torch.float16, torch.bfloat16)
        if exact and torch.equal(self.scale.to(dtype).float(), self.scale.float()):
            return self.integers(dtype)
        return self.dequantize().to(dtype)

    def contiguous_groups(self) -> bool:
        """Return whether each scale of a row covers consecutive columns, as many as every other."""
        return self.g_idx is None and not self.extra.get("block_shape") and len(self.scale) == len(self.codes)

    @torch.no_grad()
    def integers(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return (code - zero point) * scale by views of groups, in `dtype`: [out, in].

        Some rows at a time, so that only the result leaves the cache. Codes and their differences are
        integers of at most 8 bits, which every floating dtype of 16 bits holds.
        """
        result = torch.empty(self.codes.shape, dtype=dtype, device=self.codes.device)
        levels, steps = (values.to(dtype)[..., None] for values in (self.zero_point, self.scale))
        rows = max(1, PART // max(self.codes.shape[1], 1))
        parts = zip(*(values.split(rows) for values in (result, self.codes, levels, steps)), strict=True)
        for part, codes, level, step in parts:
            part.copy_(codes).unflatten(1, (self.scale.shape[1], -1)).sub_(level).mul_(step)
        return result

    def integers_by_column(self) -> Tensor:
        """Return (code - zero point) * scale with both spread over the columns, float32 [out, in]."""
        return (self.codes.float() - self.per_column(self.zero_point)) * self.per_column(self.scale)

    def per_column(self, groups: Tensor) -> Tensor:
        """Spread [out, n_groups] (scales, zero points) over the columns: [out, in], in float32."""
        columns = self.codes.shape[1]
        if block := self.extra.get("block_shape"):
            tall = groups.float().repeat_interleave(block[0], 0)[: self.codes.shape[0]]
            return tall.repeat_interleave(block[1], 1)[:, :columns]
        if self.g_idx is not None:
            return groups.float()[:, self.g_idx.long()]
        if groups.shape[1] == 1:
            return groups.float()
        return groups.float().repeat_interleave(columns // groups.shape[1], 1)

    def bits_per_weight(self) -> float:
        """Return stored bits (codes, scales, zero points, group indices) divided by the number of weights.

        A scale counts 16 bits unless extra["scale_bits"] says otherwise; a zero point `bits`.
        """
        stored = self.codes.numel() * self.bits + self.scale.numel() * self.extra.get("scale_bits", 16)
        if self.zero_point is not None and not self.symmetric:
            stored += self.zero_point.numel() * self.bits
        if self.g_idx is not None:
            stored += 32 * self.g_idx.numel()
        return (stored + self.extra.get("extra_bits", 0)) / self.codes.numel()


def storable_scale(scale: Tensor) -> Tensor:
    """Round scales to values that float16 and bfloat16 both hold exactly; float32 in and out.

    bfloat16 has 8 significant bits, and float16 holds all of those from 2**-17 up to 65504;
    smaller ones are raised to 2**-17, larger ones refused with ValueError, so that neither
    reader sees another weight than the other. Only a scale of zero stays zero.
    """
    rounded = scale.float().to(torch.bfloat16).float()
    if rounded.numel() and rounded.abs().max() > 65280:
        raise ValueError(f"a scale of {float(rounded.abs().max()):.3g} does not fit in float16 (limit 65504)")
    return scale.float().sign() * rounded.abs().clamp(min=2.0**-17)
