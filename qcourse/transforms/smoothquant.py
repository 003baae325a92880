"""SmoothQuant: move the size of outlier channels from activations into weights, which are easier to round."""

from typing import Any

from torch import Tensor, nn

from qcourse.transforms.fold import fold, links


def transform(layer: Any, statistics: list, alpha: float = 0.5) -> dict[str, Any]:
    """Smooth the inputs of attention and MLP of a decoder layer in place; its function is unchanged.

    statistics: calibrate's InputStatistics; they become those of the smoothed activations.
    Only activations that leave a norm are smoothed. Returns the largest activation before and after.
    Source: Xiao et al. 2022 (arXiv 2211.10438), equation 4.
    """
    by_name = {name: item for item in statistics for name in item.names}
    record = {}
    for link in links(layer):
        if isinstance(layer.get_submodule(link.producer), nn.Linear):
            continue
        item = by_name[link.consumers[0]]
        before = float(item.absmax.max())
        weights = [layer.get_submodule(name).weight.data for name in link.consumers]
        item.rescale(fold(layer, link, smoothing_scale(item.absmax, weights, alpha)))
        record[link.producer] = {"absmax_before": before, "absmax_after": float(item.absmax.max())}
    return record


def smoothing_scale(absmax: Tensor, weights: list[Tensor], alpha: float) -> Tensor:
    """Return s_j = max|X_j|**alpha / max|W_j|**(1 - alpha), float32 [in]; 1 for a channel never active."""
    largest = weights[0].float().abs().amax(0)
    for weight in weights[1:]:
        largest = largest.maximum(weight.float().abs().amax(0))
    scale = absmax.clamp(min=1e-5) ** alpha / largest.clamp(min=1e-5) ** (1 - alpha)
    return scale.masked_fill(absmax == 0, 1.0).clamp(min=1e-5)
