"""The words that recipes are written in: file formats, methods and what each leaves to choose, GGUF types."""

from dataclasses import dataclass, field
from typing import Any

FOLDER_FORMATS = ("gptq", "gptq_v2", "awq", "compressed-tensors", "bitsandbytes", "merged")
FORMATS = (*FOLDER_FORMATS, "gguf")
TRANSFORMS = (None, "awq", "smoothquant", "rotation")
ACT_ORDERS = ("none", "static", "group-aware")
ACTIVATIONS = ("dynamic", "static")
AWQ_VARIANTS = ("", "noclip", "noscale")
GROUP_SIZES = (128, 64, 32)  # those that engines take, the best known first
GGUF_TYPES = (
    "F16 Q4_0 Q4_1 Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS "
    "IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16"
).split()


@dataclass(frozen=True)
class Method:
    """One way of choosing the codes of a linear.

    bits: the widths it has; group_size: its only one, None where the recipe chooses; block_size: the one
    meant where none is named; activations: kinds of input scales it has; variants: further words it takes.
    page: the file of qcourse.methods that holds its `quantize_layer`, "" where llama.cpp or nobody rounds.
    settings: what that function is given beside what the recipe says. format: the usual file format.
    whole_groups: rows must be multiples of the group; together: linears that share an input are stacked;
    calibrated: it needs x x^T of their input.
    """

    bits: tuple[int, ...]
    group_size: int | None = None
    block_size: int | None = None
    activations: tuple[str, ...] = ("dynamic",)
    variants: tuple[str, ...] = ("",)
    page: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    format: str = "compressed-tensors"
    whole_groups: bool = False
    together: bool = False
    calibrated: bool = False


WIDTHS = (2, 3, 4, 5, 6, 7, 8)
METHODS = {
    "rtn": Method(WIDTHS, page="rtn", whole_groups=True, together=True),
    "gptq": Method(
        WIDTHS,
        variants=("", "gptaq", "nosearch", "nofeedback"),
        page="gptq_fast",
        format="gptq",
        whole_groups=True,
        together=True,
        calibrated=True,
    ),
    "signround": Method(
        WIDTHS, page="signround", format="gptq", whole_groups=True, together=True, calibrated=True
    ),
    "bf16": Method((16,), -1, format="merged"),
    "nf4": Method((4,), block_size=64, variants=("", "single"), page="nf4", format="bitsandbytes"),
    "llm-int8": Method((8,), -1, page="llm_int8", format="bitsandbytes"),
    "w8a8-int8": Method((8,), -1, activations=("dynamic", "static"), page="w8a8_int8"),
    "fp8-dynamic": Method((8,), -1, page="fp8", settings={"granularity": "channel"}),
    "fp8-static": Method((8,), -1, activations=("static",), page="fp8", settings={"granularity": "tensor"}),
    "fp8-block": Method((8,), 128, page="fp8", settings={"granularity": "block"}, whole_groups=True),
    "mxfp4": Method((4,), 32, page="fp4", settings={"scales": "mx"}, whole_groups=True),
    "nvfp4": Method((4,), 16, page="fp4", settings={"scales": "nv"}, whole_groups=True, together=True),
    "gguf": Method(tuple(range(1, 17)), variants=tuple(GGUF_TYPES), format="gguf"),
}
"""A method is added by its file in qcourse/methods and its line here."""

INTEGER_METHODS = tuple(name for name, method in METHODS.items() if method.bits == WIDTHS)
