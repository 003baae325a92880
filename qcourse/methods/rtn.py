"""Round to nearest: every weight on its own. The control that every other method must beat."""

from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_affine


def quantize_layer(
    weight: Tensor,
    *,
    bits: int = 4,
    group_size: int = 128,
    symmetric: bool = True,
    hessian: Tensor | None = None,
    search: bool = False,
) -> QuantizedWeight:
    """Round each weight [out, in] to the nearest level of its group's grid.

    search: shrink the range where that lowers the squared error, each column weighted by the
    diagonal of `hessian` [in, in] (mean of x x^T) when one is given.
    Raises ValueError for what `quantize_affine` refuses.
    """
    importance = hessian.diagonal() if hessian is not None else None
    return quantize_affine(weight, bits, group_size, symmetric, search=search, importance=importance)
