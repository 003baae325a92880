"""Storing a float tensor in fewer bits only when that changes nothing."""

import torch
from torch import Tensor

from qcourse.common import QCourseError


def is_exact(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether `dtype` holds every value of `tensor` unchanged."""
    return torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)


def exactly(tensor: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    """Return `tensor` as `dtype`, all values unchanged. Raises QCourseError if one would be rounded.

    The codes of a layer were chosen for these scales: a file that rounds
    them again would hold another model than the one that was measured.
    """
    if not is_exact(tensor, dtype):
        wrong = tensor[tensor.to(dtype).to(tensor.dtype) != tensor].flatten()[0].item()
        raise QCourseError(
            f"the {what} {wrong:.9g} cannot be stored as {str(dtype).removeprefix('torch.')} "
            "without rounding; quantize with scales rounded to that format first"
        )
    return tensor.to(dtype)


def smallest_exact(tensor: Tensor) -> Tensor:
    """Return `tensor` as bfloat16 where that is exact, else as float32."""
    return tensor.to(torch.bfloat16 if is_exact(tensor, torch.bfloat16) else torch.float32)


def row_major(tensor: Tensor) -> Tensor:
    """Return a copy laid out row by row; `contiguous` leaves odd strides where a dimension is 1."""
    return tensor.clone(memory_format=torch.contiguous_format)
