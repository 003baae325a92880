"""Number formats as pure tensor functions: nothing here knows about models, files or devices."""

from qcourse.numerics.types import QuantizedWeight, storable_scale

__all__ = ["QuantizedWeight", "storable_scale"]
