"""The record of a run: enough to repeat it and to see what each layer got."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.calibrate import tokens_hash
from qcourse.recipe import Recipe


def start_manifest(model: nn.Module, recipe: Recipe, tokens: Tensor | None) -> dict[str, Any]:
    """Return the manifest of a run that is about to start: plain data, ready for JSON."""
    calibration = None
    if tokens is not None and recipe.needs_calibration:
        calibration = {
            "sequences": tokens.shape[0],
            "seq_len": tokens.shape[1],
            "sha256": tokens_hash(tokens),
        }
    return {
        "recipe": json.loads(recipe.to_json()),
        "recipe_name": recipe.name,
        "recipe_hash": recipe.hash,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "calibration": calibration,
        "versions": {package: version(package) for package in ("torch", "transformers")},
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "transforms": {},
        "layers": {},
        "kept": [],
    }
