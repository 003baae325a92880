"""Bytes of weights under a recipe and bytes of KV cache, from a model's shape alone.

Embedding, head, norms and biases stay in 16 bit in every lane but GGUF; scales and zero points are counted.
"""

from qcourse.common import QCourseError
from qcourse.models import ModelShape
from qcourse.recipe import Recipe

KV_BYTES = dict.fromkeys(("auto", "bfloat16", "float16"), 2.0)
KV_BYTES |= dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "int8"), 1.0)
SCALE_BITS = 16
# Bits per weight of the whole file, embedding included, as llama.cpp's quantize README prints
# them for Llama-3.1-8B; other shapes differ by a few percent (larger vocabularies weigh more).
GGUF_BITS = {
    "BF16": 16.0, "F16": 16.0, "Q8_0": 8.5008, "Q6_K": 6.5633, "Q5_K_M": 5.7036, "Q5_K_S": 5.5704,
    "Q4_K_M": 4.8944, "Q4_K_S": 4.6672, "IQ4_NL": 4.6818, "IQ4_XS": 4.4597, "Q3_K_L": 4.2979,
    "Q3_K_S": 3.6429, "IQ3_M": 3.7628, "Q2_K": 3.1593,
}  # fmt: skip
NF4_ABSMAX = {"": 8 / 64 + 32 / (64 * 256), "single": 32 / 64}  # bits a weight; "" is double quantization


def bits_per_linear_weight(recipe: Recipe, columns: int) -> float:
    """Return the stored bits per weight of a linear of `columns` inputs, scales and zero points included.

    Raises QCourseError for GGUF recipes, whose types mix inside one file (see weights_bytes).
    """
    group = columns if recipe.group_size == -1 else recipe.group_size
    match recipe.method:
        case "bf16":
            return 16.0
        case "rtn" | "gptq" | "signround":
            return recipe.bits + (SCALE_BITS + (0 if recipe.symmetric else recipe.bits)) / group
        case "nf4":
            return 4 + NF4_ABSMAX[recipe.variant]
        case "llm-int8":
            return 8 + 32 / columns  # one fp32 absmax a row
        case "w8a8-int8" | "fp8-dynamic" | "fp8-static":
            return 8 + SCALE_BITS / columns
        case "fp8-block":
            return 8 + SCALE_BITS / 128**2
        case "mxfp4":
            return 4 + 8 / 32
        case "nvfp4":
            return 4 + 8 / 16
    raise QCourseError(
        f"no bits per weight are known for {recipe.name}; plan one of the integer, nf4 or fp8 recipes"
    )


def weights_bytes(shape: ModelShape, recipe: Recipe | None = None) -> int:
    """Return the bytes that the weights take on the device; recipe None: as the model is published."""
    if recipe is not None and recipe.method == "gguf":
        return round(shape.total_parameters * gguf_bits(recipe) / 8)
    stored = linear_bytes(shape, recipe, active=False)
    return round(stored + 2 * (shape.total_parameters - shape.linear_parameters))


def read_bytes(shape: ModelShape, recipe: Recipe | None = None) -> int:
    """Return the bytes of weights that a decode step reads at least: one token's experts, and the head.

    Of the input embedding a step reads a row a sequence, which is left out.
    """
    kept = shape.vocabulary * shape.hidden + sum(shape.small.values()) - shape.small["vision"]
    if recipe is not None and recipe.method == "gguf":
        used = sum(one.rows * one.columns * one.active for one in shape.linears)
        return round((used + kept) * gguf_bits(recipe) / 8)
    return round(linear_bytes(shape, recipe, active=True) + 2 * kept)


def linear_bytes(shape: ModelShape, recipe: Recipe | None, active: bool) -> float:
    """Return the bytes of all linears, or of those that one token uses."""
    if recipe is None and shape.own_method and not shape.own_bits:
        raise QCourseError(
            f"{shape.name} is stored as {shape.own_method}; name the recipe that it was made with"
        )
    total = 0.0
    for one in shape.linears:
        own = shape.own_bits.get(one.kind, 16.0)
        bits = own if recipe is None else bits_per_linear_weight(recipe, one.columns)
        total += one.rows * one.columns * (one.active if active else one.count) * bits / 8
    return total


def gguf_bits(recipe: Recipe) -> float:
    """Return the bits per weight of a whole GGUF file of the recipe's type."""
    if recipe.variant not in GGUF_BITS:
        known = ", ".join(sorted(GGUF_BITS))
        raise QCourseError(f"the size of a {recipe.variant} GGUF is not tabled; known are {known}")
    return GGUF_BITS[recipe.variant]


def kv_bytes_per_token(shape: ModelShape, dtype: str = "auto") -> int:
    """Return the bytes that one token adds to the KV cache of one sequence, inside every window."""
    return round(shape.kv_values_per_token * kv_bytes(dtype))


def kv_cache_bytes(shape: ModelShape, context: int, batch: int = 1, dtype: str = "auto") -> int:
    """Return the bytes that `batch` sequences of `context` tokens keep: windows capped, states added.

    States of linear attention are kept in 16 bits, as vLLM does unless the configuration asks for more.
    """
    return batch * round(shape.kv_values(context) * kv_bytes(dtype) + 2 * shape.state_values)


def kv_bytes(dtype: str) -> float:
    """Return the bytes of one value of the KV cache."""
    if dtype not in KV_BYTES:
        raise QCourseError(f"unknown KV cache type {dtype!r}; known are {', '.join(KV_BYTES)}")
    return KV_BYTES[dtype]
