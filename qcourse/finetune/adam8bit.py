"""AdamW whose two moments are kept in 8 bits: a quarter of the memory that an optimizer takes.

Source: Dettmers et al. 2022 (arXiv 2110.02861), sections 2.1 (blocks) and 2.2 (dynamic code book).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qcourse.numerics.code_books import to_blocks
from qcourse.numerics.codebook import dynamic_map, unsigned_dynamic_map

BLOCK = 256
SMALLEST = 4096  # tensors of fewer values keep 32-bit moments: norms and biases are few and sensitive


@dataclass
class Moment:
    """One moment of a parameter: codes uint8 [n_blocks, 256], absmax float32 [n_blocks]."""

    codes: Tensor
    absmax: Tensor
    signed: bool

    @property
    def nbytes(self) -> int:
        """Bytes that the moment takes."""
        return self.codes.nbytes + self.absmax.nbytes

    def values(self, shape: torch.Size) -> Tensor:
        """Return the moment that the codes stand for, float32 of the parameter's shape."""
        blocks = levels(self.signed, self.codes.device)[self.codes.long()] * self.absmax[:, None]
        return blocks.reshape(-1)[: shape.numel()].reshape(shape)


def levels(signed: bool, device: torch.device) -> Tensor:
    """Return the 256 rising values of the code book of the first (signed) or second moment."""
    return (dynamic_map() if signed else unsigned_dynamic_map()).to(device)


def compress(values: Tensor, signed: bool) -> Moment:
    """Divide blocks of 256 values by their absmax and take the nearest code-book value.

    A positive second moment never becomes 0: the update divides by its root.
    """
    blocks = to_blocks(values.float(), BLOCK)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    book = levels(signed, values.device)
    codes = torch.bucketize(scaled, (book[:-1] + book[1:]) / 2)
    if not signed:
        codes = torch.where(blocks > 0, codes.clamp(min=1), codes)
    return Moment(codes.to(torch.uint8), absmax, signed)


class AdamW8bit(torch.optim.Optimizer):
    """AdamW with moments in 8 bits for tensors of 4,096 values and more; the step itself is in 32 bits."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__(parameters, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: nn.Parameter, group: dict) -> None:
        """Read the moments, do one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101), store them."""
        state, gradient = self.state[parameter], parameter.grad.float()
        count = state["step"] = state.get("step", 0) + 1
        beta1, beta2 = group["betas"]
        first = beta1 * read(state.get("first"), gradient) + (1 - beta1) * gradient
        second = beta2 * read(state.get("second"), gradient) + (1 - beta2) * gradient.square()
        root = (second / (1 - beta2**count)).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_((first / root).to(parameter.dtype), alpha=-group["lr"] / (1 - beta1**count))
        small = parameter.numel() < SMALLEST
        state["first"] = first if small else compress(first, signed=True)
        state["second"] = second if small else compress(second, signed=False)


def read(moment: Moment | Tensor | None, like: Tensor) -> Tensor:
    """Return a stored moment in float32; zeros before the first step."""
    if moment is None:
        return torch.zeros_like(like)
    return moment.values(like.shape) if isinstance(moment, Moment) else moment
