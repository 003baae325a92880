"""How many bits an artefact stores a weight: from the headers of its files, nothing is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.common.gguf_files import gguf_files, open_gguf
from qcourse.common.kv_names import is_of_a_cache
from qcourse.common.tensor_header import read_header
from qcourse.models import shape

FLOATS = ("F64", "F32", "F16", "BF16")
LINEAR = re.compile(r"(.*\.layers\..*?(?:_proj|\.c_fc|\.experts\.\d+\.w\d))\.(.+)")


@dataclass(frozen=True)
class Size:
    """What an artefact stores.

    bits_per_weight: all stored tensor bits / all parameters of the model, a tied head counted once.
    bits_per_quantized_weight: bits of the quantized linears (codes, scales, zero points, indices;
    biases apart) / their weights; None where nothing is quantized.
    file_bytes: size of the weight files on disk, headers and padding included.
    """

    bits_per_weight: float
    bits_per_quantized_weight: float | None
    file_bytes: int
    parameters: int


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: name, element type as the file spells it, bits."""

    name: str
    kind: str
    bits: int


def bits_per_weight(path: Path | str) -> Size:
    """Return the Size of a checkpoint folder (safetensors) or of a GGUF file.

    Raises QCourseError for a folder without weights or a damaged header.
    """
    path = Path(path)
    return gguf_size(path) if path.suffix == ".gguf" else folder_size(path)


def folder_size(folder: Path) -> Size:
    """Return the Size of a Hugging Face folder; its parameters are counted from config.json."""
    files = checkpoint_files(folder)
    if not files:
        raise QCourseError(f"{folder} holds no .safetensors file; give a checkpoint folder or a .gguf file")
    tensors = [tensor for file in files for tensor in stored(file)]
    model = shape(folder)
    per_linear = quantized_linears(tensors)
    quantized_bits = sum(tensor.bits for group in per_linear.values() for tensor in group)
    weights = quantized_weights(folder, set(per_linear))
    return Size(
        sum(tensor.bits for tensor in tensors) / model.total_parameters,
        quantized_bits / weights if weights else None,
        sum(file.stat().st_size for file in files),
        model.total_parameters,
    )


def stored(file: Path) -> list[Stored]:
    """Return the tensors that a safetensors file declares."""
    return [
        Stored(name, entry.dtype, 8 * (entry.end - entry.start)) for name, entry in read_header(file).items()
    ]


def quantized_linears(tensors: list[Stored]) -> dict[str, list[Stored]]:
    """Return linear -> its stored tensors but the bias, for linears that are not one plain float matrix."""
    groups: dict[str, list[Stored]] = {}
    for tensor in tensors:
        found = LINEAR.fullmatch(tensor.name)
        if found and found[2] != "bias" and not is_of_a_cache(tensor.name):
            groups.setdefault(found[1], []).append(tensor)
    return {
        name: group
        for name, group in groups.items()
        if len(group) > 1 or group[0].kind not in FLOATS
    }  # fmt: skip


def quantized_weights(folder: Path, names: set[str]) -> int:
    """Return how many weights the named linears have, by the model's sizes in config.json."""
    model = shape(folder)
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    sizes = {"q_proj": query, "o_proj": query, "k_proj": key, "v_proj": key, "qkv_proj": query + 2 * key}
    sizes |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), model.intermediate)
    sizes |= dict.fromkeys(("c_fc", "c_proj"), model.intermediate)
    sizes["gate_up_proj"] = 2 * model.intermediate
    expert = next((one.rows for one in model.linears if one.kind == "expert"), 0)
    return model.hidden * sum(
        expert if ".experts." in name else sizes[name.rsplit(".", 1)[1]] for name in names
    )


def memory_size(model: Any, layers: dict[str, Any]) -> Size:
    """Return the Size that a quantized model in memory would have on disk, file headers apart.

    layers: linear -> quantized weight with `.bits_per_weight()` and `.codes`; all else counts 16 bits.
    """
    total = shape(model).total_parameters
    weights = sum(layer.codes.numel() for layer in layers.values())
    bits = sum(layer.bits_per_weight() * layer.codes.numel() for layer in layers.values())
    stored = bits + 16 * (total - weights)
    return Size(stored / total, bits / weights if weights else None, round(stored / 8), total)


def gguf_size(file: Path) -> Size:
    """Return the Size of a GGUF file, by gguf-py's own table of block sizes."""
    from gguf import GGMLQuantizationType

    tensors = open_gguf(file).tensors
    plain = {GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16}
    blocks = [t for t in tensors if t.name.startswith("blk.") and t.tensor_type not in plain]
    parameters = sum(int(t.n_elements) for t in tensors)
    weights = sum(int(t.n_elements) for t in blocks)
    return Size(
        8 * sum(int(t.n_bytes) for t in tensors) / parameters,
        8 * sum(int(t.n_bytes) for t in blocks) / weights if weights else None,
        sum(each.stat().st_size for each in gguf_files(file)),
        parameters,
    )
