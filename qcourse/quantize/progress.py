"""What a streamed run keeps on disk, so that it can be stopped at any moment and go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from qcourse.common import QCourseError, atomic_path, write_json
from qcourse.numerics import NestedAbsmax, QuantizedWeight
from qcourse.quantize.result import QuantizedModel


class Progress:
    """The work folder of a streamed run: run.json, hidden.safetensors, layer-0000.safetensors, ..."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        """Open or start a work folder; QCourseError when it belongs to another run."""
        self.folder, self.originals = folder, {}
        record = folder / "run.json"
        if record.is_file() and json.loads(record.read_text()) != json.loads(json.dumps(identity)):
            raise QCourseError(
                f"{folder} holds an unfinished run of another model, recipe or calibration text; "
                "choose another work folder or start without resuming"
            )
        write_json(record, identity)

    def path(self, index: int) -> Path:
        """Return where a layer is kept."""
        return self.folder / f"layer-{index:04d}.safetensors"

    def finished(self) -> int:
        """Return the number of layers finished in a row from the first."""
        index = 0
        while self.path(index).is_file():
            index += 1
        return index

    def save_hidden(self, index: int, hidden: list[Tensor]) -> None:
        """Keep the hidden states that enter layer `index`, in place of those kept before."""
        tensors = {f"{position:05d}": batch.contiguous() for position, batch in enumerate(hidden)}
        with atomic_path(self.folder / "hidden.safetensors") as path:
            save_file(tensors, path, {"layer": str(index)})

    def hidden(self) -> tuple[int, list[Tensor] | None]:
        """Return the layer to go on with and the hidden states that enter it; (0, None) at the start."""
        path = self.folder / "hidden.safetensors"
        if not path.is_file():
            return 0, None
        with safe_open(path, "pt") as file:
            return int(file.metadata()["layer"]), [file.get_tensor(name) for name in sorted(file.keys())]

    def save_layer(self, index: int, result: QuantizedModel, dense: dict[str, Tensor]) -> None:
        """Write the codes, the other tensors and the records of one layer, whole or not at all."""
        tensors = {f"dense/{name}": value.contiguous() for name, value in dense.items()}
        facts = {}
        for name, layer in result.layers.items():
            packed, facts[name] = flatten(layer)
            tensors |= {f"{name}/{key}": value.contiguous() for key, value in packed.items()}
        prefix = f"model.layers.{index}"
        manifest = {
            "transforms": {
                key: value for key, value in result.manifest["transforms"].items() if key == prefix
            },
            "layers": {key: result.manifest["layers"][key] for key in result.layers},
            "kept": [name for name in result.manifest["kept"] if name.startswith(f"{prefix}.")],
        }
        with atomic_path(self.path(index)) as path:
            save_file(tensors, path, {"record": json.dumps({"facts": facts, "manifest": manifest})})

    def dense(self, index: int) -> dict[str, Tensor]:
        """Return the norms and biases of a finished layer, by name within the layer."""
        with safe_open(self.path(index), "pt") as file:
            names = [name for name in file.keys() if name.startswith("dense/")]
            return {name.removeprefix("dense/"): file.get_tensor(name) for name in names}

    def merged_manifest(self, total: int) -> dict[str, Any]:
        """Return the records of all finished layers as one manifest's transforms, layers and kept."""
        merged: dict[str, Any] = {"transforms": {}, "layers": {}, "kept": []}
        for index in range(total):
            with safe_open(self.path(index), "pt") as file:
                part = json.loads(file.metadata()["record"])["manifest"]
            merged["transforms"] |= part["transforms"]
            merged["layers"] |= part["layers"]
            merged["kept"] += part["kept"]
        return merged


class StoredLayers(Mapping):
    """Quantized weights on disk that look like a dict; nothing is kept in memory."""

    def __init__(self, progress: Progress, names: list[str]) -> None:
        self.progress, self.facts = progress, {}
        for index in range(progress.finished()):
            with safe_open(progress.path(index), "pt") as file:
                found = json.loads(file.metadata()["record"])["facts"]
            self.facts |= {name: (index, found[name]) for name in names if name in found}

    def __getitem__(self, name: str) -> QuantizedWeight:
        index, facts = self.facts[name]
        with safe_open(self.progress.path(index), "pt") as file:
            keys = [key for key in file.keys() if key.startswith(f"{name}/")]
            return unflatten({key.removeprefix(f"{name}/"): file.get_tensor(key) for key in keys}, facts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)


def flatten(layer: QuantizedWeight) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a quantized weight as tensors for a file and plain facts for its header."""
    named = {field.name: getattr(layer, field.name) for field in fields(layer)}
    nested = named.pop("nested")
    if nested is not None:
        named |= {f"nested/{name}": value for name, value in vars(nested).items()}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in named.items() if name not in tensors}


def unflatten(tensors: dict[str, Tensor], facts: dict[str, Any]) -> QuantizedWeight:
    """Undo `flatten`."""
    parts = facts | tensors
    nested = {name: parts.pop(name) for name in list(parts) if name.startswith("nested/")}
    if nested:
        parts["nested"] = NestedAbsmax(
            **{name.removeprefix("nested/"): part for name, part in nested.items()}
        )
    if parts["block_shape"] is not None:
        parts["block_shape"] = tuple(parts["block_shape"])
    return QuantizedWeight(**parts)
