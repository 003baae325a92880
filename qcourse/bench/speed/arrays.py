"""Dequantizing and packing beside the least that any of them could take: a copy of the dense bf16 tensor.

All make a new tensor each time; how fast the system hands out fresh memory is part of every figure. What a
copy into memory that is already there takes stands beside (`ready`).
"""

from collections.abc import Callable, Iterator
from typing import Any

from qcourse.bench.speed.clock import row, timed

ROWS, COLUMNS = 4096, 4096
BAR = 3.0


def rows(compiled: bool = False) -> Iterator[dict]:
    """Yield a row for each direction of each layout; compiled: dequantizing by torch.compile too."""
    import torch

    from qcourse.numerics import packing, quantize_affine

    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    quantized = quantize_affine(weight, 4, 128)
    codes = quantized.codes
    gptq, awq = packing.pack_gptq(codes, 4), packing.pack_awq(codes)
    parts: dict[str, Callable[[], Any]] = {
        "dequantize to bf16": lambda: quantized.dequantize_to(torch.bfloat16),
        "pack GPTQ": lambda: packing.pack_gptq(codes, 4),
        "unpack GPTQ": lambda: packing.unpack_gptq(gptq, 4),
        "pack AWQ": lambda: packing.pack_awq(codes),
        "unpack AWQ": lambda: packing.unpack_awq(awq),
        "pack compressed-tensors": lambda: packing.pack_compressed_tensors(codes, 4),
        "pack 3 bits": lambda: packing.pack_words(codes & 7, 3),
    }
    if compiled:
        fast = torch.compile(quantized.integers)
        parts["dequantize to bf16, compiled"] = lambda: fast(torch.bfloat16)
    there = torch.empty_like(weight)
    for name, run in parts.items():
        run()
        mine = timed(lambda: None, lambda _, run=run: run(), 15)
        copy = timed(lambda: None, lambda _: weight.clone(), 15)
        ready = timed(lambda: None, lambda _: there.copy_(weight), 15)
        yield row(f"{name}: times a copy", mine.median / copy.median, BAR, False, ours=mine.median,
                  spread=mine.spread, peer=copy.median, peer_spread=copy.spread,
                  ready=ready.median)  # fmt: skip
