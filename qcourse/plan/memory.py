"""Bytes of weights under a recipe and bytes of KV cache, from a model's shape alone.

Embedding, head, norms and biases stay in 16 bit in every lane but GGUF; scales and zero points are counted.
"""

from qcourse.common import QCourseError
from qcourse.models import ModelShape
from qcourse.recipe import Recipe

KV_BYTES = {
    "auto": 2.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "int8": 1.0,
}
SCALE_BITS = 16
# Bits per weight of the whole file, embedding included, as llama.cpp's quantize README prints
# them for Llama-3.1-8B; other shapes differ by a few percent (larger vocabularies weigh more).
GGUF_BITS = {
    "BF16": 16.0, "F16": 16.0, "Q8_0": 8.5008, "Q6_K": 6.5633, "Q5_K_M": 5.7036, "Q5_K_S": 5.5704,
    "Q4_K_M": 4.8944, "Q4_K_S": 4.6672, "IQ4_NL": 4.6818, "IQ4_XS": 4.4597, "Q3_K_L": 4.2979,
    "Q3_K_S": 3.6429, "IQ3_M": 3.7628, "Q2_K": 3.1593,
}  # fmt: skip
NF4_ABSMAX = {"": 8 / 64 + 32 / (64 * 256), "single": 32 / 64}  # bits a weight; "" is double quantization


def linear_shapes(shape: ModelShape) -> list[tuple[int, int, int]]:
    """Return (rows, columns, how many in the model) of the quantized linears."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    mlps = shape.layers * shape.experts
    return [
        (query, shape.hidden, shape.layers),
        (key, shape.hidden, 2 * shape.layers),
        (shape.hidden, query, shape.layers),
        (shape.intermediate, shape.hidden, 2 * mlps),
        (shape.hidden, shape.intermediate, mlps),
    ]


def bits_per_linear_weight(recipe: Recipe, columns: int) -> float:
    """Return the stored bits per weight of a linear of `columns` inputs, scales and zero points included.

    Raises QCourseError for GGUF recipes, whose types mix inside one file (see weights_bytes).
    """
    group = columns if recipe.group_size == -1 else recipe.group_size
    match recipe.method:
        case "bf16":
            return 16.0
        case "rtn" | "gptq":
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


def weights_bytes(shape: ModelShape, recipe: Recipe) -> int:
    """Return the bytes that the weights take on the device."""
    if recipe.method == "gguf":
        if recipe.variant not in GGUF_BITS:
            known = ", ".join(sorted(GGUF_BITS))
            raise QCourseError(f"the size of a {recipe.variant} GGUF is not tabled; known are {known}")
        return round(shape.total_parameters * GGUF_BITS[recipe.variant] / 8)
    quantized = sum(
        rows * columns * count * bits_per_linear_weight(recipe, columns)
        for rows, columns, count in linear_shapes(shape)
    )
    stored = sum(rows * columns * count for rows, columns, count in linear_shapes(shape))
    return round(quantized / 8 + 2 * (shape.total_parameters - stored))


def kv_bytes_per_token(shape: ModelShape, dtype: str = "auto") -> int:
    """Return the bytes that one token adds to the KV cache of one sequence."""
    if dtype not in KV_BYTES:
        raise QCourseError(f"unknown KV cache type {dtype!r}; known are {', '.join(KV_BYTES)}")
    return round(shape.kv_values_per_token * KV_BYTES[dtype])
