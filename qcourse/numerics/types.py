"""The one shape in which every method hands over a quantized linear layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qcourse.numerics.code_books import decode_blocks, fp4_values

FLOAT8_KINDS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz")
CODE_BOOK_KINDS = ("nf4", "fp4")
PART = 2**19  # weights dequantized at once


@dataclass
class NestedAbsmax:
    """Block maxima in 8 bits, as double quantization stores them.

    codes: uint8, one a block; absmax: float32, one for 256 of them; offset: float32 0-dim, their mean.
    """

    codes: Tensor
    absmax: Tensor
    offset: Tensor


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
    scale_bits: that the file takes for a scale; block_shape: of FP8's blocks, rows and columns a scale.
    nested: NF4's doubly quantized scales; global_scale: NVFP4's divisor, float32 0-dim.
    input_scale: float32 0-dim, of activations with a static scale; threshold: of LLM.int8()'s outliers;
    activations: what a file says that inputs share a scale by ("tensor", "token", "group").
    damping: of GPTQ, the share of H's mean diagonal; None where no damping helped, and of other methods.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    bits: int
    group_size: int
    kind: str = "int"
    symmetric: bool = True
    g_idx: Tensor | None = None
    scale_bits: int = 16
    block_shape: tuple[int, int] | None = None
    nested: NestedAbsmax | None = None
    global_scale: Tensor | None = None
    input_scale: Tensor | None = None
    threshold: float | None = None
    activations: str | None = None
    damping: float | None = None

    def dequantize(self) -> Tensor:
        """Return the dense weight, float32 [out, in]; raises ValueError for an unknown kind."""
        if self.kind == "int":
            return self.integers() if self.contiguous_groups() else self.integers_by_column()
        if self.kind == "int8" or self.kind in FLOAT8_KINDS:
            return self.codes.float() * self.per_column(self.scale)
        if self.kind in CODE_BOOK_KINDS:
            return decode_blocks(self.codes, self.scale, self.group_size, self.kind)
        if self.kind in ("mxfp4", "nvfp4"):
            scale = self.scale if self.global_scale is None else self.scale / self.global_scale
            return fp4_values(self.codes) * scale.repeat_interleave(self.group_size, 1)
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
        return self.g_idx is None and not self.block_shape and len(self.scale) == len(self.codes)

    @torch.no_grad()
    def integers(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return (code - zero point) * scale by views of groups, in `dtype`: [out, in].

        Some rows at a time, so that only the result leaves the cache. Codes and their differences are
        integers of at most 8 bits, which every floating dtype of 16 bits holds.
        """
        assert self.zero_point is not None, "integers have zero points"
        result = torch.empty(self.codes.shape, dtype=dtype, device=self.codes.device)
        levels, steps = (values.to(dtype)[..., None] for values in (self.zero_point, self.scale))
        rows = max(1, PART // max(self.codes.shape[1], 1))
        parts = zip(*(values.split(rows) for values in (result, self.codes, levels, steps)), strict=True)
        for part, codes, level, step in parts:
            part.copy_(codes).unflatten(1, (self.scale.shape[1], -1)).sub_(level).mul_(step)
        return result

    def integers_by_column(self) -> Tensor:
        """Return (code - zero point) * scale with both spread over the columns, float32 [out, in]."""
        assert self.zero_point is not None, "integers have zero points"
        return (self.codes.float() - self.per_column(self.zero_point)) * self.per_column(self.scale)

    def per_column(self, groups: Tensor) -> Tensor:
        """Spread [out, n_groups] (scales, zero points) over the columns: [out, in], in float32."""
        columns = self.codes.shape[1]
        if block := self.block_shape:
            tall = groups.float().repeat_interleave(block[0], 0)[: self.codes.shape[0]]
            return tall.repeat_interleave(block[1], 1)[:, :columns]
        if self.g_idx is not None:
            return groups.float()[:, self.g_idx.long()]
        if groups.shape[1] == 1:
            return groups.float()
        return groups.float().repeat_interleave(columns // groups.shape[1], 1)

    def bits_per_weight(self) -> float:
        """Return stored bits (codes, scales, zero points, group indices) divided by the number of weights."""
        stored = self.codes.numel() * self.bits + self.scale.numel() * self.scale_bits
        if self.zero_point is not None and not self.symmetric:
            stored += self.zero_point.numel() * self.bits
        if self.g_idx is not None:
            stored += 32 * self.g_idx.numel()
        if self.nested is not None:
            stored += 32 * (self.nested.absmax.numel() + 1)
        if self.global_scale is not None:
            stored += 32
        return stored / self.codes.numel()
