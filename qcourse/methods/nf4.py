"""NF4: sixteen levels at the quantiles of a normal distribution, as QLoRA stores its base model."""

from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_codebook


def quantize_layer(
    weight: Tensor,
    *,
    bits: int = 4,
    group_size: int = 64,
    symmetric: bool = True,
    hessian: Tensor | None = None,
    double_quantization: bool = True,
) -> QuantizedWeight:
    """Quantize weight [out, in] in blocks of `group_size` values; the Hessian is not used.

    Raises ValueError for bits other than 4, a block size bitsandbytes lacks, values not finite.
    Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3.
    """
    if bits != 4:
        raise ValueError(f"NF4 has 4 bits, not {bits}")
    return quantize_codebook(weight, group_size, "nf4", double_quantization)
