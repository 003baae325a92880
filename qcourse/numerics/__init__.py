"""Number formats as pure tensor functions: nothing here knows about models, files or devices."""

from qcourse.numerics.affine import fake_quantize, quantize_affine, quantize_int8
from qcourse.numerics.checks import valid_group_sizes
from qcourse.numerics.codebook import quantize_codebook
from qcourse.numerics.fp8 import quantize_fp8
from qcourse.numerics.grid import PER_CHANNEL, PER_TENSOR, Grid, storable_scale
from qcourse.numerics.types import NestedAbsmax, QuantizedWeight

__all__ = [
    "PER_CHANNEL", "PER_TENSOR", "Grid", "NestedAbsmax", "QuantizedWeight", "fake_quantize",
    "quantize_affine", "quantize_codebook", "quantize_fp8", "quantize_int8", "storable_scale",
    "valid_group_sizes",
]  # fmt: skip
