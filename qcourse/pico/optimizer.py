"""What is optimized how: Muon for the matrices of the layers, AdamW for embeddings and norms."""

import torch
from torch import nn

EMBEDDING_SHARE = 0.3  # AdamW's learning rate is this share of Muon's


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Return [Muon over the matrices of the layers, AdamW over the rest]; rates are set each step."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(matrices, lr=0.0, momentum=0.95, weight_decay=0.0),
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
