"""Planted outliers: SmoothQuant run backwards, so that a small model shows what large ones suffer from."""

from typing import Any

import torch
from torch import nn

from qcourse.common.layouts import layout
from qcourse.transforms.fold import fold, links


@torch.no_grad()
def plant(model: Any, channels: int = 4, factor: float = 32.0, seed: int = 0) -> list[int]:
    """Make some channels of every norm's output `factor` times larger and shrink the columns that read them.

    factor: a power of two, so that in bf16 the model computes exactly what it did before.
    Returns the channels, the same in every layer as in real models. What is shown on such a model is labelled
    "mechanism": SmoothQuant and AWQ only find back what was planted.
    Raises ValueError for a factor that is no power of two or more channels than there are, or where no
    norm stands before attention.
    Source of the effect: Dettmers et al. 2022 (arXiv 2208.07339), section 4.
    """
    mantissa, _ = torch.frexp(torch.tensor(float(factor)))
    if float(mantissa) != 0.5:
        raise ValueError(f"factor {factor} is no power of two; 32 is usual")
    if not layout(model.config).norms[0]:
        raise ValueError(f"{model.config.model_type} has no norm before attention to plant outliers in")
    hidden = model.config.hidden_size
    if not 0 < channels <= hidden:
        raise ValueError(f"{channels} channels of {hidden} cannot be planted")
    chosen = torch.randperm(hidden, generator=torch.Generator().manual_seed(seed))[:channels].sort().values
    scale = torch.ones(hidden, device=model.device)
    scale[chosen.to(model.device)] = 1.0 / factor
    for layer in model.model.layers:
        for link in links(layer):
            if not isinstance(layer.get_submodule(link.producer), nn.Linear):
                fold(layer, link, scale)
    return chosen.tolist()
