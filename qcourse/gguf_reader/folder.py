"""A GGUF file becomes a Hugging Face folder: configuration, bf16 weights, tokenizer, from the file alone."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError, atomic_folder
from qcourse.common.layouts import LAYOUTS, Layout
from qcourse.common.tensor_writer import save_parts
from qcourse.gguf_reader.config import config
from qcourse.gguf_reader.read import _open, experts, places, value, weight
from qcourse.gguf_reader.tokenizer import read_tokenizer

COMPUTED = "rope_freqs.weight"  # the configuration says it
ENDS = ("eos", "eot", "eom")  # of a text, of a turn, of a message


def convert(path: Path | str, folder: Path | str) -> Path:
    """Write the model of a GGUF file as a folder that transformers loads, and return the folder.

    Any type that gguf-py dequantizes; each weight is rounded to bf16 once (BF16 stays as it is, others
    move by at most 2**-9 of their size). One tensor is in memory at a time; the folder appears whole.
    Raises QCourseError for a damaged file, an architecture, scaling or tokenizer that is not read, a tensor
    that belongs nowhere, and one that is missing or of another shape.
    """
    reader, folder = _open(path), Path(folder)
    settings, tokens = config(reader), read_tokenizer(path)
    stored = places(reader)
    wanted = expected(settings)
    check_names(path, reader, stored)
    check_shapes(path, {name: tuple(map(int, reversed(tensor.shape))) for name, tensor in stored.items()},
                 {name: tuple(tensor.shape) for name, tensor in wanted.items()})  # fmt: skip
    parts = [partial(one, name, reader, stored.get(name), whole) for name, whole in wanted.items()]
    outlines = {part: (torch.bfloat16, tuple(tensor.shape)) for name, whole in wanted.items()
                for part, tensor in experts(name, whole)}  # fmt: skip
    with atomic_folder(folder) as temporary:
        settings.save_pretrained(temporary)
        generation(reader, settings).save_pretrained(temporary)
        tokens.save_pretrained(temporary)
        save_parts(parts, outlines, temporary / "model.safetensors")
    return folder


def expected(settings: Any) -> dict[str, Tensor]:
    """Return every tensor that a configuration asks for, without its values and without a tied head.

    All experts of a layer stand in one tensor [experts, rows, columns], of a name without a number.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings)
    row = LAYOUTS[settings.model_type]
    return {part: tensor for name, whole in model.named_parameters()
            for part, tensor in as_stored(row, name, whole).items()}  # fmt: skip


def as_stored(row: Layout, name: str, whole: Tensor) -> dict[str, Tensor]:
    """Return a parameter of transformers under the names of checkpoints: gate and up of experts apart."""
    if not row.experts:
        return {name: whole}
    name = name.replace(".mlp.", f".{row.block}.")
    if whole.dim() < 3:
        return {name: whole}
    place, _, last = name.rpartition(".")
    parts = whole.chunk(2, dim=1) if last == "gate_up_proj" else (whole,)
    names = row.experts[:2] if last == "gate_up_proj" else row.experts[2:]
    return {f"{place}.{part}.weight": tensor for part, tensor in zip(names, parts, strict=True)}


def check_names(path: Path | str, reader: Any, stored: dict[str, Any]) -> None:
    """Raise QCourseError for a tensor of the file that no module of the model holds."""
    known = {tensor.name for tensor in stored.values()}
    if strays := [tensor.name for tensor in reader.tensors if tensor.name not in known | {COMPUTED}]:
        raise QCourseError(f"{path} holds {strays[0]}, which has no place in this architecture; such files "
                           "are not read")  # fmt: skip


def check_shapes(path: Path | str, found: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    """Raise QCourseError for a tensor that is missing, or of another shape than the metadata says."""
    for name, shape in wanted.items():
        if name not in found and not name.endswith("o_proj.bias"):
            raise QCourseError(f"{path} lacks the tensor {name}; download or write it again")
        if found.get(name, shape) != shape:
            raise QCourseError(f"{path} holds {name} as {list(found[name])} and its metadata asks for "
                               f"{list(shape)}; download or write it again")  # fmt: skip


def one(name: str, reader: Any, tensor: Any, wanted: Tensor) -> dict[str, Tensor]:
    """Return a stored tensor in bf16, experts by number; zeros for the bias of o_proj that q's has beside."""
    values = torch.zeros(wanted.shape) if tensor is None else weight(reader, tensor)
    return dict(experts(name, values.to(torch.bfloat16)))


def generation(reader: Any, settings: Any) -> Any:
    """Return the generation configuration: a text ends at eos, and a turn at a token of its own."""
    from transformers import GenerationConfig

    ids = [value(reader, f"tokenizer.ggml.{end}_token_id", None) for end in ENDS]
    ends = [number for number in dict.fromkeys(ids) if number is not None]
    return GenerationConfig(bos_token_id=settings.bos_token_id, pad_token_id=settings.pad_token_id,
                            eos_token_id=ends if len(ends) > 1 else settings.eos_token_id)  # fmt: skip
