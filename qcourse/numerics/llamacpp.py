"""llama.cpp's block formats: what the bytes of Q4_0, Q5_0, Q8_0, Q4_K, Q6_K and IQ4_NL stand for.

A row of weights is cut into blocks of 32 (or super-blocks of 256); each becomes a fixed number of bytes.
`dequantize` equals gguf-py to the last bit; `quantize` chooses codes that err no more than llama.cpp's own.
Source: ggml-quants.c and gguf-py/gguf/quants.py of llama.cpp.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from qcourse.numerics import llamacpp_iq as iq
from qcourse.numerics import llamacpp_k as k
from qcourse.numerics import llamacpp_simple as simple
from qcourse.numerics.checks import check_finite
from qcourse.numerics.half import INFINITE_FROM, LIMIT


@dataclass(frozen=True)
class BlockFormat:
    """One format: weights a block, bytes a block, and the two directions on [n_blocks, ...] tensors.

    reach: the largest weight in steps of a block's float16 scale.
    """

    weights: int
    bytes: int
    reach: int
    pack: Callable[[Tensor, Tensor | None], Tensor]
    unpack: Callable[[Tensor], Tensor]


FORMATS = {
    "Q4_0": BlockFormat(32, 18, 8, simple.pack_q4_0, simple.unpack_q4_0),
    "Q5_0": BlockFormat(32, 22, 16, simple.pack_q5_0, simple.unpack_q5_0),
    "Q8_0": BlockFormat(32, 34, 127, simple.pack_q8_0, simple.unpack_q8_0),
    "IQ4_NL": BlockFormat(32, 18, 127, iq.pack_iq4_nl, iq.unpack_iq4_nl),
    "Q4_K": BlockFormat(256, 144, 63 * 15, k.pack_q4_k, k.unpack_q4_k),
    "Q6_K": BlockFormat(256, 210, 128 * 32, k.pack_q6_k, k.unpack_q6_k),
}


def quantize(weight: Tensor, name: str, importance: Tensor | None = None) -> Tensor:
    """Return the bytes of weight [out, in] in a format: uint8 [out, bytes a row].

    importance: mean x**2 of each column [in] (the "imatrix"); all but Q8_0 use it.
    Raises ValueError for an unknown format, values not finite or too large for its float16 scales (llama.cpp
    refuses most of these, and makes zeros or NaN of the rest), or rows that blocks do not fill.
    """
    form = format_of(name)
    check_finite(weight)
    check_reach(weight, name)
    if weight.shape[1] % form.weights:
        raise ValueError(
            f"{name} needs rows that are a multiple of {form.weights} weights, not {weight.shape[1]}; "
            "Q8_0 and Q4_0 need multiples of 32"
        )
    blocks = weight.float().reshape(-1, form.weights)
    if importance is not None:
        importance = importance.float().expand(weight.shape[0], -1).reshape(-1, form.weights)
    return form.pack(blocks, importance).reshape(weight.shape[0], -1)


def check_reach(weight: Tensor, name: str) -> None:
    """Raise ValueError for a weight that no float16 scale of the format reaches.

    Far beyond it the fits overflow float32 and would leave a scale of zero, which looks sound.
    """
    largest, reach = float(weight.abs().max()) if weight.numel() else 0.0, FORMATS[name].reach
    if largest >= INFINITE_FROM * reach:
        raise ValueError(
            f"a weight of {largest:.6g} does not fit in {name} (limit {LIMIT * reach}, {reach} times its "
            f"float16 scale's {LIMIT}); keep this weight in bfloat16"
        )


def dequantize(data: Tensor, name: str) -> Tensor:
    """Return the dense weight, float32 [out, in], of bytes uint8 [out, bytes a row]."""
    form = format_of(name)
    if data.shape[1] % form.bytes:
        raise ValueError(f"{data.shape[1]} bytes a row are not blocks of {form.bytes} bytes ({name})")
    return form.unpack(data.contiguous().reshape(-1, form.bytes)).reshape(data.shape[0], -1)


def bits_per_weight(name: str) -> float:
    """Return the bits a weight of a format takes, scales included."""
    form = format_of(name)
    return 8 * form.bytes / form.weights


def format_of(name: str) -> BlockFormat:
    """Return a format by name; ValueError lists the known ones."""
    if name not in FORMATS:
        raise ValueError(f"unknown block format {name!r}; known are {', '.join(FORMATS)}")
    return FORMATS[name]
