"""The record, recipe.json: how an artefact was made, without anything that changes from run to run."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from qcourse.common import record_path, write_json
from qcourse.recipe import Recipe

LIBRARIES = ("torch", "numpy", "transformers", "safetensors", "gguf", "llama_cpp_python")


def record(recipe: Recipe | None, format: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the record: recipe, format, the caller's manifest, versions, machine.

    No date and no path of this machine: the same recipe gives the same bytes.
    """
    return {
        "recipe": None if recipe is None else json.loads(recipe.to_json()),
        "name": None if recipe is None else recipe.name,
        "format": format,
        "manifest": {key: value for key, value in manifest.items() if key != "seconds"},
        "versions": versions(),
        "machine": {
            "architecture": platform.machine(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        },
        "seed": manifest.get("seed"),
    }


def write_record(artefact: Path | str, recipe: Recipe | None, format: str, manifest: dict[str, Any]) -> None:
    """Write the record of an artefact that is there: in its folder, or FILE.recipe.json beside a file."""
    write_json(record_path(artefact), record(recipe, format, manifest))


def versions() -> dict[str, str]:
    """Return the installed versions that decide the bytes of an artefact."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
