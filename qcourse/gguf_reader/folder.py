"""A GGUF file becomes a Hugging Face folder: configuration, bf16 weights, tokenizer, from the file alone."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError, atomic_folder
from qcourse.common.tensor_writer import save_parts
from qcourse.gguf_reader.config import config, value
from qcourse.gguf_reader.read import _open, places, weight
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
    shapes = {name: tuple(map(int, reversed(tensor.shape))) for name, tensor in stored.items()}
    wanted = expected(settings)
    check_names(path, reader, stored)
    check_shapes(path, shapes, wanted)
    parts = [partial(one, name, reader, stored.get(name), shape) for name, shape in wanted.items()]
    with atomic_folder(folder) as temporary:
        settings.save_pretrained(temporary)
        generation(reader, settings).save_pretrained(temporary)
        tokens.save_pretrained(temporary)
        save_parts(parts, {name: (torch.bfloat16, shape) for name, shape in wanted.items()},
                   temporary / "model.safetensors")  # fmt: skip
    return folder


def expected(settings: Any) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that a configuration asks for, a tied head left out."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


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


def one(name: str, reader: Any, tensor: Any, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return one tensor in bf16; zeros for the bias of o_proj, which transformers wants beside q's."""
    values = torch.zeros(shape) if tensor is None else weight(reader, tensor)
    return {name: values.to(torch.bfloat16)}


def generation(reader: Any, settings: Any) -> Any:
    """Return the generation configuration: a text ends at eos, and a turn at a token of its own."""
    from transformers import GenerationConfig

    ids = [value(reader, f"tokenizer.ggml.{end}_token_id", None) for end in ENDS]
    ends = [number for number in dict.fromkeys(ids) if number is not None]
    return GenerationConfig(bos_token_id=settings.bos_token_id, pad_token_id=settings.pad_token_id,
                            eos_token_id=ends if len(ends) > 1 else settings.eos_token_id)  # fmt: skip
