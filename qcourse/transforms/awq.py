"""AWQ: enlarge the weight columns that see large activations, so that rounding hurts them less.

The paper re-runs a layer for each candidate scale. For the squared error of a linear's output that is
not needed: it is tr(D H D^T), with D the change of the weight and H the mean of x x^T, collected once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from qcourse.numerics.affine import fake_quantize
from qcourse.numerics.checks import columns_of_a_group
from qcourse.numerics.energy import output_energy, thin_rows
from qcourse.transforms.fold import Link, fold, held, links, pool_query_heads

LIVE = 1e-6  # of the largest column: what a column must have to decide on the scales
BOUND = 128.0  # of a scale and of its inverse: fp16 holds the scales of codes that it makes smaller


class RoundingSettings(Protocol):
    """The settings of a linear that matter here."""

    bits: int
    group_size: int
    symmetric: bool


def transform(layer: Any, statistics: list, grids: dict[str, RoundingSettings | None]) -> dict[str, Any]:
    """Scale a decoder layer in place for rounding on `grids`; its function is unchanged.

    statistics: calibrate's InputStatistics with Gram matrices; they become those of the scaled activations.
    grids: by linear name; None for linears that stay unquantized. Returns for each link the exponent chosen
    and by how much the output error fell. Source: Lin et al. 2023 (arXiv 2306.00978), section 3.2.
    """
    by_name = {name: item for item in statistics for name in item.names}
    record = {}
    for link in links(layer):
        item = by_name[link.consumers[0]]
        weights = [(layer.get_submodule(name).weight.data, grids.get(name)) for name in link.consumers]
        if all(grid is None for _, grid in weights):
            record[link.producer] = {"skipped": "its readers are not quantized"}
            continue
        scale, found = search_scale(weights, item.hessian, item.mean_abs, link, partial(held, layer, link))
        item.rescale(fold(layer, link, scale))
        record[link.producer] = found
    return record


def search_scale(
    weights: list[tuple[Tensor, RoundingSettings | None]],
    hessian: Tensor,
    mean_abs: Tensor,
    link: Link,
    settle: Callable[[Tensor], Tensor] = torch.clone,
) -> tuple[Tensor, dict[str, Any]]:
    """Return the scale [in] with the least output error after rounding, and its record.

    Tried: s = mean|x|**a / mean|w|**(1 - a) and s = mean|x|**a for a = 0.1, 0.2, ... 1 and then twentieths
    beside the best, each normalised to a geometric centre of 1 and then moved by `settle` to what the
    producer can hold. No scale at all is among them, so the error never exceeds that of plain rounding.
    """
    chosen = [(thin_rows(weight.float()), grid) for weight, grid in weights if grid is not None]
    activation = pool_query_heads(mean_abs, link)
    magnitude = pool_query_heads(mean_magnitude(chosen), link)
    best = torch.ones_like(activation)
    plain = best_error = rounding_error(chosen, best, hessian)
    found: dict[str, Any] = {"exponent": 0.0, "by_weight": False}
    for coarse in (True, False):
        for exponent, by_weight in exponents(coarse, found):
            scale = settle(candidate(activation, magnitude, exponent, by_weight))
            error = rounding_error(chosen, scale, hessian)
            if error < best_error:
                best, best_error = scale, error
                found = {"exponent": exponent, "by_weight": by_weight}
    return best, found | {"error_ratio": best_error / plain if plain else 1.0}


def exponents(coarse: bool, found: dict[str, Any]) -> list[tuple[float, bool]]:
    """Return what to try: every tenth in both forms, then a twentieth to either side of the best so far."""
    if coarse:
        return [(step / 10, by_weight) for step in range(1, 11) for by_weight in (False, True)]
    near = (found["exponent"] - 0.05, found["exponent"] + 0.05)
    return [(exponent, found["by_weight"]) for exponent in near if 0 < exponent < 1]


def candidate(activation: Tensor, magnitude: Tensor, exponent: float, by_weight: bool) -> Tensor:
    """Return one candidate scale, its largest and smallest value symmetric about 1 in logarithm.

    Columns below a millionth of the largest, dead ones, follow the others: they neither move the centre nor
    leave its range. No scale leaves 1 / BOUND .. BOUND.
    """
    lowest = [(LIVE * values.max()).clamp(min=1e-30) for values in (activation, magnitude)]
    live = (activation >= lowest[0]) & (magnitude >= lowest[1])
    scale = activation.clamp(min=lowest[0]) ** exponent
    if by_weight:
        scale = scale / magnitude.clamp(min=lowest[1]) ** (1 - exponent)
    low, high = (scale[live] if live.any() else scale).aminmax()
    return (scale.clamp(low, high) / (low * high).sqrt()).clamp(1 / BOUND, BOUND)


def rounding_error(weights: list[tuple[Tensor, RoundingSettings]], scale: Tensor, hessian: Tensor) -> float:
    """Return the mean squared output error, tr(D H D^T), of rounding weight * scale and dividing again."""
    total = 0.0
    for weight, grid in weights:
        rounded = fake_quantize(weight * scale, grid.bits, grid.group_size, grid.symmetric)
        change = rounded / scale - weight
        total += float(output_energy(change, hessian))
    return total


def mean_magnitude(weights: list[tuple[Tensor, RoundingSettings]]) -> Tensor:
    """Return the mean over rows of |w| relative to the largest of its group: float32 [in]."""
    parts = []
    for weight, grid in weights:
        groups = weight.abs().reshape(
            weight.shape[0], -1, columns_of_a_group(weight.shape[1], grid.group_size)
        )
        parts.append((groups / groups.amax(-1, keepdim=True).clamp(min=1e-8)).reshape(weight.shape))
    return torch.cat(parts).mean(0)
