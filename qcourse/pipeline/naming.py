"""What an artefact is called: its recipe and the model behind it, by its record or by the file itself."""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.models import resolve
from qcourse.recipe.record import read_record


def recipe_name(model: str) -> str:
    """Return the recipe that an artefact records, or what the file or the folder itself says it is."""
    try:
        return read_record(model).name or "bf16"
    except QCourseError:
        pass
    if model.startswith(("http://", "https://")):
        return "served"
    return name_of_gguf(model) if model.endswith(".gguf") else name_of_folder(resolve(model))


def name_of_folder(folder: Path) -> str:
    """Return "bf16" for a dense checkpoint, else method, bits and groups as its quantization_config has them.

    Such as gptq-w4g128, awq-w4g128, nf4, llm-int8, compressed-tensors-w8a8, or the bare method.
    """
    from qcourse.export import quantization_config

    settings = quantization_config(folder)
    method = settings.get("quant_method", "") if settings else "bf16"
    if method == "bitsandbytes":
        return settings.get("bnb_4bit_quant_type", "nf4") if settings.get("load_in_4bit") else "llm-int8"
    if method == "compressed-tensors":
        scheme: dict[str, Any] = next(iter(settings.get("config_groups", {}).values()), {})
        parts = ((scheme.get(key) or {}).get("num_bits", 16) for key in ("weights", "input_activations"))
        return "{}-w{}a{}".format(method, *parts)
    bits = settings.get("bits", settings.get("w_bit"))
    group = settings.get("group_size", settings.get("q_group_size"))
    width = f"-w{bits}" + (f"g{group}" if group and group > 0 else "") if bits else ""
    lopsided = method != "awq" and not settings.get("sym", True)
    return f"{method or 'quantized'}{width}{'-asym' if lopsided else ''}"


def name_of_gguf(path: str) -> str:
    """Return gguf- and the type that most of a file's weights are stored in, such as gguf-q4_k."""
    from qcourse.export import gguf

    weights: Counter[str] = Counter()
    for kind, shape in gguf.tensor_types(path).values():
        weights[kind] += prod(shape)
    return f"gguf-{weights.most_common(1)[0][0].lower()}"


def origin(model: str, baseline: str | None) -> str:
    """Return the unquantized model behind it: the baseline, what recipe.json records, or ""."""
    if baseline:
        return baseline
    try:
        return known.model if (known := read_record(model).source) else ""
    except QCourseError:
        return ""
