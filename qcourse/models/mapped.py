"""A model whose weights stay in their files: pages are read when touched, dropped when memory is short."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError
from qcourse.common.tensor_header import read_header
from qcourse.models.checkpoint import check_all_read, check_checkpoint
from qcourse.models.skeleton import skeleton

if TYPE_CHECKING:
    import torch

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def mapped_model(folder: Path) -> Any:
    """Return the Hugging Face model of a folder with every parameter a view of its mapped file, in eval mode.

    Writing to a parameter changes private memory, never the file.
    Raises QCourseError for a damaged checkpoint, a missing tensor, or one that is not F32, F16 or BF16.
    """
    return filled(
        folder,
        {name: tensor for path in check_checkpoint(folder) for name, tensor in mapped_tensors(path).items()},
    )


def filled(folder: Path, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the model of a folder's config.json with these tensors as its parameters, in eval mode.

    Raises QCourseError for a missing tensor, one of another shape, and one that no part of the model reads.
    """
    from qcourse.models.products import widen

    model = skeleton(folder)
    config = model.config
    head, embedding = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
    if config.tie_word_embeddings and head is not None and not same(head, embedding):
        config.tie_word_embeddings = False  # what is stored decides
        place(model, "lm_head.weight", head)
    for name, parameter in list(model.named_parameters()):
        if name in tensors:
            check_shape(folder, name, tensors[name], parameter)
            place(model, name, tensors[name])
        elif not (name == "lm_head.weight" and config.tie_word_embeddings):
            raise QCourseError(f"{folder} lacks the tensor {name} {list(parameter.shape)}; download it again")
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    check_all_read(folder, [name for name, tensor in tensors.items() if name not in known
                            and not (name.endswith(".bias") and not tensor.any())])  # fmt: skip
    if config.tie_word_embeddings:
        model.tie_weights()
    model.qcourse_folder = str(folder)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its tables are computed, not stored
    if hasattr(model.model.embed_tokens, "embed_scale"):
        model.model.embed_tokens.embed_scale = model.model.embed_tokens.embed_scale.new_tensor(
            model.model.embed_tokens.scalar_embed_scale, device="cpu")  # fmt: skip
    return widen(model.eval())


def same(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    """Say whether two stored tensors hold the same values."""
    return second is not None and first.shape == second.shape and bool((first == second).all())


def check_shape(folder: Path, name: str, stored: torch.Tensor, wanted: torch.Tensor) -> None:
    """Raise QCourseError when a stored tensor has not the shape that config.json asks for."""
    if stored.shape != wanted.shape:
        raise QCourseError(
            f"{folder} holds {name} as {list(stored.shape)} and config.json asks for {list(wanted.shape)}; "
            "download both again"
        )


def place(model: Any, name: str, tensor: torch.Tensor) -> None:
    """Make `tensor` the parameter `name` of a model."""
    from torch import nn

    module, _, leaf = name.rpartition(".")
    model.get_submodule(module).register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))


def mapped_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file as views of its mapping; QCourseError names an odd dtype."""
    import torch

    header = read_header(path)
    with path.open("rb") as stream:
        buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = {}
    for name, entry in header.items():
        if entry.dtype not in DTYPES:
            raise QCourseError(
                f"{path} holds {name} as {entry.dtype}; only F32, F16 and BF16 can be streamed"
            )
        if entry.start == entry.end:
            tensors[name] = torch.empty(entry.shape, dtype=getattr(torch, DTYPES[entry.dtype]))
            continue
        view = torch.frombuffer(buffer, dtype=getattr(torch, DTYPES[entry.dtype]),
                                count=math.prod(entry.shape), offset=entry.start)  # fmt: skip
        tensors[name] = view.reshape(entry.shape)
    return tensors
