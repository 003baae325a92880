"""What is optimized how: Muon for the matrices of the layers, AdamW for embeddings and norms."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

EMBEDDING_SHARE = 0.3  # AdamW's learning rate is this share of Muon's
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalized; matrices of one shape go through it together.

    The same as torch.optim.Muon, but in a dtype of choice: torch's is bfloat16, in which a
    CPU without bf16 arithmetic multiplies fourteen times slower than in fp32.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """

    def __init__(self, matrices: Iterable[Tensor], dtype: torch.dtype, weight_decay: float = 0.01) -> None:
        super().__init__(matrices, {"lr": 0.0, "momentum": 0.95, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Change every matrix by its orthogonalized gradient (Nesterov momentum)."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                shapes.setdefault(matrix.shape, []).append(matrix)
            for alike in shapes.values():
                updates = orthogonalize(
                    torch.stack([self._nesterov(m, group["momentum"]) for m in alike]), self.dtype
                )
                rate = group["lr"] * max(1.0, alike[0].shape[0] / alike[0].shape[1]) ** 0.5
                for matrix, update in zip(alike, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _nesterov(self, matrix: Tensor, momentum: float) -> Tensor:
        """Return the gradient after momentum, which is kept in the matrix's state."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(buffer, momentum)


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Return near-orthogonal matrices of the same singular vectors: five Newton-Schulz steps.

    matrices: [n, rows, columns]; returned in `dtype`, singular values about 0.7 to 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x.to(dtype) / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7).to(dtype)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.transpose(1, 2) if tall else x


def optimizers(model: nn.Module, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """Return [Muon over the matrices of the layers, AdamW over the rest]; rates are set each step."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        Muon(matrices, dtype),
        torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def set_rate(pair: list[torch.optim.Optimizer], rate: float) -> None:
    """Give Muon `rate` and AdamW its share of it."""
    for optimizer, share in zip(pair, (1.0, EMBEDDING_SHARE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * share


def rate_at(step: int, steps: int, first: float, last: float, warmup: int) -> float:
    """Return the learning rate of a step: linear from `first` to `last` after a linear warm-up."""
    fraction = step / max(1, steps)
    return min(1.0, (step + 1) / max(1, warmup)) * (first + (last - first) * fraction)
