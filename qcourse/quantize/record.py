"""What the manifest says of one quantized linear: settings, bits a weight, errors of weight and output."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qcourse.calibrate import InputStatistics, bf16_products
from qcourse.numerics import QuantizedWeight
from qcourse.numerics.energy import output_energy, thin_rows
from qcourse.recipe import Recipe


def record_of(
    layer: QuantizedWeight,
    weight: Tensor,
    recipe: Recipe,
    hessian: Tensor | None,
    item: InputStatistics | None,
) -> dict[str, Any]:
    """Return a linear's manifest record: settings, bits per weight, errors of weight and output, damping.

    The output's error is that of up to 512 output features, evenly spaced.
    """
    weight = weight.float()
    error = layer.dequantize() - weight
    record = {
        "method": recipe.method,
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "bits_per_weight": round(layer.bits_per_weight(), 4),
        "relative_weight_error": ratio(error.square().sum(), weight.square().sum()),
    }
    if item is not None:
        record["calibration_tokens"] = item.n_tokens
    if hessian is not None and item.n_tokens:
        with bf16_products():
            record["relative_output_error"] = ratio(
                output_energy(thin_rows(error), hessian), output_energy(thin_rows(weight), hessian)
            )
    if recipe.method == "gptq":
        record["damping"] = layer.damping
        if layer.damping is None:
            why = "the Hessian had no Cholesky factor even when damped" if item.n_tokens else (
                "no calibration token reached it")  # fmt: skip
            record["note"] = f"{why}; rounded to nearest"
    return record


def ratio(part: Tensor, whole: Tensor) -> float:
    """Return part / whole as a float, 0 when the whole is 0."""
    return float(part / whole) if float(whole) else 0.0
