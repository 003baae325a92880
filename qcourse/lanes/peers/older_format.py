"""A model folder of transformers 5 in the words of transformers 4.51, which the archived libraries need."""

import json
import shutil
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError


def write_older_copy(model: Path | str, target: Path) -> Path:
    """Copy a model folder so that transformers 4.51 reads it, and return the copy.

    Raises QCourseError if the folder has no config.json.
    """
    model = Path(model)
    if not (model / "config.json").exists():
        raise QCourseError(f"{model} has no config.json; give a model folder")
    target.mkdir(parents=True)
    for path in model.iterdir():
        if path.suffix in (".safetensors", ".json", ".jinja") and path.name != "recipe.json":
            shutil.copy(path, target)
    _rewrite(target / "config.json", older_config)
    _rewrite(target / "tokenizer_config.json", older_tokenizer)
    return target


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return config.json with rope_theta and torch_dtype in place of rope_parameters and dtype."""
    config = dict(config)
    rotary = config.pop("rope_parameters", None) or {}
    if "rope_theta" in rotary:
        config["rope_theta"] = rotary["rope_theta"]
    if rotary.get("rope_type", "default") != "default":
        config["rope_scaling"] = {key: value for key, value in rotary.items() if key != "rope_theta"}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    return config


def older_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Return tokenizer_config.json with a class that transformers 4 knows."""
    config = {key: value for key, value in config.items() if key not in ("backend", "is_local")}
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    return config


def _rewrite(path: Path, change: Any) -> None:
    if path.exists():
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8"))), indent=2))
