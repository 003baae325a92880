"""FP4: sixteen signed values (E2M1) and a scale for every 32 or 16 of them, as Blackwell's units have it."""

from torch import Tensor

from qcourse.numerics import QuantizedWeight
from qcourse.numerics.fp4 import quantize_mxfp4, quantize_nvfp4


def quantize_layer(weight: Tensor, *, scales: str = "nv") -> QuantizedWeight:
    """Round weight [out, in] to FP4: "mx" scales are powers of two for 32 values, "nv" are E4M3 for 16.

    Raises ValueError for other scales, rows that blocks do not fill, and values not finite.
    Source: OCP Microscaling Formats 1.0, section 5; NVIDIA's NVFP4 as in compressed-tensors 0.19.
    """
    if scales not in ("mx", "nv"):
        raise ValueError(f"FP4 has scales 'mx' and 'nv', not {scales!r}")
    return quantize_mxfp4(weight) if scales == "mx" else quantize_nvfp4(weight)
