"""Adapters on disk, in the format of peft that serving engines load beside a base."""

import json
import logging
from pathlib import Path

from torch import Tensor, nn

from qcourse.common import QCourseError, atomic_folder

FILES = ("adapter_config.json", "adapter_model.safetensors")


def save_adapter(adapted: nn.Module, folder: Path | str) -> Path:
    """Write the adapter of a model that `add_adapters` wrapped: adapter_config.json and safetensors."""
    logging.getLogger("peft").setLevel(logging.ERROR)
    with atomic_folder(folder) as temporary:
        adapted.save_pretrained(temporary, safe_serialization=True, save_embedding_layers=False)
        for file in temporary.iterdir():
            if file.name not in FILES:  # a model card that names the place where the base was loaded from
                file.unlink()
        settings = json.loads((temporary / FILES[0]).read_text(encoding="utf-8"))
        text = json.dumps({**settings, "base_model_name_or_path": ""}, indent=2, sort_keys=True)
        (temporary / FILES[0]).write_text(text + "\n", encoding="utf-8")
    return Path(folder)


def read_adapter(folder: Path | str) -> dict[str, Tensor]:
    """Return alpha/rank * B @ A of every adapter in a peft folder, float32 [out, in], by linear name.

    Raises QCourseError for a folder that holds no LoRA adapter.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        settings = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        tensors = load_file(folder / FILES[1])
        scaling = settings["lora_alpha"] / settings["r"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise QCourseError(
            f"{folder} holds no LoRA adapter ({error.__class__.__name__}); "
            "write one with save_adapter or peft's save_pretrained"
        ) from error
    found = {}
    for name, below in tensors.items():
        if name.endswith(".lora_A.weight"):
            plain = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            above = tensors[name.replace(".lora_A.", ".lora_B.")]
            found[plain] = scaling * (above.float() @ below.float())
    return found


def load_adapter(model: nn.Module, folder: Path | str) -> nn.Module:
    """Return `model` wrapped by peft with the adapter of a folder; the base stays as it is."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise QCourseError("adapters need peft, which is not installed; pip install peft") from error
    return PeftModel.from_pretrained(model, str(folder)).eval()
