"""Reading GGUF with gguf-py: the weights as transformers names and orders them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.gguf_files import open_gguf as _open
from qcourse.gguf_reader.names import PAIRED, ROTARY, hf_names, is_norm, row_of, unpermute_rotary


def read(path: Path | str) -> dict[str, Tensor]:
    """Return every weight of a GGUF file in float32, under transformers' names, rotary rows in its order.

    Raises QCourseError for a file that is damaged, or of an architecture that is not supported.
    """
    reader = _open(path)
    try:
        found = {name: weight(reader, tensor) for name, tensor in places(reader).items()}
        return {part: value for name, whole in found.items() for part, value in experts(name, whole)}
    except QCourseError:
        raise
    except Exception as error:
        raise QCourseError(f"{path} is damaged: {str(error)[:120]}; download or write it again") from error


def tensor_types(path: Path | str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape ([rows, columns], as in torch) of each tensor of a GGUF file, by GGUF name."""
    return {
        tensor.name: (tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape)))
        for tensor in _open(path).tensors
    }


def field(reader: Any, name: str) -> Any:
    """Return a value of a GGUF file's metadata. Raises QCourseError if it is not there."""
    found = reader.get_field(name)
    if found is None:
        raise QCourseError(f"the GGUF file lacks {name}; download or write it again")
    return found.contents()


def value(reader: Any, name: str, default: Any) -> Any:
    """Return a value of the metadata, or `default` where the file has none."""
    found = reader.get_field(name)
    return default if found is None else found.contents()


def decimal(number: float) -> float:
    """Return the shortest decimal that is this float32, as the configuration once had it: 1e-05."""
    import numpy as np

    return float(str(np.float32(number)))


def layer_count(reader: Any, arch: str) -> int:
    """Return the number of decoder layers. Raises QCourseError for more than the file has tensors."""
    layers = field(reader, f"{arch}.block_count")
    if layers > len(reader.tensors):
        raise QCourseError(
            f"the GGUF file names {layers} layers and has {len(reader.tensors)} tensors; "
            "download or write it again"
        )
    return layers


def places(reader: Any) -> dict[str, Any]:
    """Return transformers' name -> gguf-py's tensor, for the tensors that have such a name."""
    arch = field(reader, "general.architecture")
    names = hf_names(arch, layer_count(reader, arch), [tensor.name for tensor in reader.tensors])
    return {names[tensor.name]: tensor for tensor in reader.tensors if tensor.name in names}


def experts(name: str, whole: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield name and matrix of each expert of a tensor [experts, rows, columns]; another tensor as it is."""
    if whole.dim() < 3:
        yield name, whole
    for number, matrix in enumerate(whole if whole.dim() == 3 else ()):
        yield name.replace(".experts.", f".experts.{number}."), matrix


def weight(reader: Any, tensor: Any) -> Tensor:
    """Return one tensor of an open file in float32, its rotary rows in transformers' order.

    Raises QCourseError for a type that gguf-py knows by name only.
    """
    from gguf import quants

    try:
        values = torch.from_numpy(quants.dequantize(tensor.data, tensor.tensor_type).copy()).float()
    except NotImplementedError:
        raise QCourseError(f"{tensor.name} is stored as {tensor.tensor_type.name}, which gguf-py cannot "
                           "read; take the model in another type, such as Q4_K_M") from None  # fmt: skip
    arch, rotary = field(reader, "general.architecture"), ROTARY.fullmatch(tensor.name)
    if is_norm(tensor.name):
        return values - row_of(arch).norm_offset
    if arch not in PAIRED or rotary is None:
        return values
    count = "head_count" if rotary[1].endswith("q") else "head_count_kv"
    return unpermute_rotary(values, field(reader, f"{arch}.attention.{count}"))
