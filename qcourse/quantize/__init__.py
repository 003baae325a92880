"""A recipe carried out on a model: transform it, walk its layers, choose the codes, keep the record."""

from qcourse.quantize.kv_cache import quantized_kv_cache
from qcourse.quantize.memory import predicted_peak_bytes
from qcourse.quantize.quantize import quantize
from qcourse.quantize.result import QuantizedModel
from qcourse.quantize.sensitivity import Sensitivity, mixed_recipe, sensitivities
from qcourse.quantize.simulate import reference
from qcourse.quantize.stream import quantize_folder

__all__ = [
    "QuantizedModel",
    "Sensitivity",
    "mixed_recipe",
    "predicted_peak_bytes",
    "quantize",
    "quantize_folder",
    "quantized_kv_cache",
    "reference",
    "sensitivities",
]
