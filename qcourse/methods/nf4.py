"""NF4: sixteen levels at the quantiles of a normal distribution, as QLoRA stores its base model."""

from torch import Tensor

from qcourse.numerics import QuantizedWeight, quantize_codebook


def quantize_layer(
    weight: Tensor, *, group_size: int = 64, double_quantization: bool = True
) -> QuantizedWeight:
    """Quantize weight [out, in] in blocks of `group_size` values.

    Raises ValueError for a block size that bitsandbytes lacks and for values not finite.
    Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3.
    """
    return quantize_codebook(weight, group_size, "nf4", double_quantization)
