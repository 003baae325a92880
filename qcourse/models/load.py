"""Loading a model with its tokenizer, and giving the memory back."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError, content_hash, read_config
from qcourse.models.checkpoint import check_all_read, check_checkpoint, for_transformers
from qcourse.models.library_limits import settle_4bit_layers, settle_quantization
from qcourse.models.memory import resident_bytes, trim_memory
from qcourse.models.modules import check_finite
from qcourse.models.resolve import resolve
from qcourse.models.skeleton import one_sentence

if TYPE_CHECKING:
    import torch


@dataclass
class LoadedModel:
    """A model in memory: the module, its tokenizer, the name it was asked by, its folder and content hash."""

    model: Any
    tokenizer: Any
    name: str
    folder: Path
    hash: str


def load(
    name: str | Path | None = None,
    dtype: torch.dtype | str = "bfloat16",
    device: str | None = None,
    revision: str | None = None,
) -> LoadedModel:
    """Load "pico", a folder or a hub id (default: QCOURSE_MODEL, or pico) for evaluation.

    dtype: of the weights in memory; device: default QCOURSE_DEVICE, or cuda if there.
    Raises QCourseError for an unknown name, a damaged, incomplete or pickled checkpoint, values that are not
    finite, an absent device, and for what the checkpoint's library is known to compute wrongly here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from qcourse.models.attention import settle_attention
    from qcourse.models.products import widen

    folder, device = resolve(name, revision), choose_device(device)
    files = check_checkpoint(folder)
    torch_dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    quantization = read_config(folder).get("quantization_config")
    with quiet_loading(), one_sentence(folder), for_transformers(folder, files) as place:
        config = AutoConfig.from_pretrained(place)
        if quantization is not None:
            settle_quantization(config, folder, files, torch_dtype, device)
        model, found = AutoModelForCausalLM.from_pretrained(
            place, config=config, dtype=torch_dtype, use_safetensors=True,
            ignore_mismatched_sizes=quantization is None, output_loading_info=True)  # fmt: skip
    check_complete(folder, found)
    if quantization is None:
        check_all_read(folder, found["unexpected_keys"])
        settle_dense(model)
    settle_attention(model.config)
    model.qcourse_folder = str(folder)
    settle_4bit_layers(widen(model.to(device)))
    asked = str(name or os.environ.get("QCOURSE_MODEL") or "pico")
    return LoadedModel(model.eval(), load_tokenizer(folder), asked, folder, content_hash(folder))


def settle_dense(model: Any) -> None:
    """Say in an unquantized model's config whether it is tied, take its experts apart, check its values."""
    from qcourse.models.experts import separate_experts

    model.config.tie_word_embeddings = is_tied(model)
    separate_experts(model)
    check_finite(model)


def is_tied(model: Any) -> bool:
    """Say whether the head is the embedding; a checkpoint may store another, whatever config.json says."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight.data_ptr() == embedding.weight.data_ptr()


def check_complete(folder: Path, found: dict[str, Any]) -> None:
    """Raise QCourseError for a tensor that transformers has drawn at random, absent or of another shape."""
    if missing := sorted(found["missing_keys"]):
        raise QCourseError(f"{folder} lacks the tensor {missing[0]}; download it again")
    for name, stored, wanted in found["mismatched_keys"]:
        raise QCourseError(
            f"{folder} holds {name} as {list(stored)} and config.json asks for {list(wanted)}; "
            "download both again"
        )


def load_tokenizer(folder: Path) -> Any:
    """Return the folder's tokenizer; raises QCourseError when the folder has none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a damaged tokenizer.json raises whatever its reader happens to
        alone = (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists()
        needs = ", or install sentencepiece, which reads its tokenizer.model" if alone else ""
        raise QCourseError(
            f"{folder} has no readable tokenizer; copy tokenizer.json beside the weights{needs}"
        ) from error


def choose_device(device: str | None = None) -> str:
    """Return `device`, QCOURSE_DEVICE, or cuda when present, else cpu; QCourseError if it is not there."""
    import torch

    device = device or os.environ.get("QCOURSE_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise QCourseError(
            f"device {device} was asked for, but torch sees no CUDA GPU; set QCOURSE_DEVICE=cpu"
        )
    return device


@contextmanager
def loaded(name: str | Path | None = None, **options: Any) -> Iterator[LoadedModel]:
    """Load a model for one block, then give its memory back; prints resident memory before and after."""
    before = resident_bytes()
    loaded_model = load(name, **options)
    print(f"{loaded_model.name}: {before / 2**20:.0f} MiB -> {resident_bytes() / 2**20:.0f} MiB resident")
    try:
        yield loaded_model
    finally:
        release(loaded_model)
        print(f"{loaded_model.name} released: {resident_bytes() / 2**20:.0f} MiB resident")


def release(loaded_model: LoadedModel) -> None:
    """Free the weights even where a caller still holds the module: its parameters become shapes only."""
    import torch

    model, loaded_model.model = loaded_model.model, None
    if model is not None and getattr(model, "hf_quantizer", None) is None:
        model.to("meta")  # a library's own parameters cannot be moved there: they are only let go
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_memory()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers' weight-loading progress bars out of notebooks and logs."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
