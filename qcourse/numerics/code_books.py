"""Tables of four-bit values, and what plain tensors of codes and scales stand for."""

import torch
from torch import Tensor

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
)  # fmt: skip
FP4 = (0.0, 0.005208333333, 0.6666666667, 1.0, 0.3333333333, 0.5, 0.1666666667, 0.25)
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def signed(magnitudes: tuple[float, ...]) -> tuple[float, ...]:
    """Return the values of codes that hold a sign bit above their magnitude."""
    return magnitudes + tuple(-value for value in magnitudes)


def code_book(kind: str, device: torch.device | None = None) -> Tensor:
    """Return the 16 values of "nf4" (rising) or "fp4" (sign bit, then magnitude), float32."""
    return torch.tensor(NF4 if kind == "nf4" else signed(FP4), device=device)


def fp4_values(codes: Tensor) -> Tensor:
    """Return the float32 values of 4-bit floating-point codes (E2M1)."""
    return torch.tensor(signed(E2M1), device=codes.device)[codes.long()]


def to_blocks(values: Tensor, block_size: int) -> Tensor:
    """Flatten to [n_blocks, block_size]; the last block is filled with zeros."""
    flat = values.reshape(-1)
    return torch.nn.functional.pad(flat, (0, -flat.numel() % block_size)).reshape(-1, block_size)


def decode_blocks(codes: Tensor, absmax: Tensor, block_size: int, kind: str) -> Tensor:
    """Return code-book value times its block's absmax, float32 like codes [out, in]; blocks cross rows."""
    values = code_book(kind, codes.device)[codes.long()]
    blocks = to_blocks(values, block_size) * absmax.reshape(-1, 1)
    return blocks.reshape(-1)[: values.numel()].reshape(values.shape)
