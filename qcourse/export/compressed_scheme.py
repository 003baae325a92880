"""The schemes of compressed-tensors: what config.json says about weights and activations of a linear."""

import re
from dataclasses import dataclass
from typing import Any

from qcourse.common import QCourseError
from qcourse.numerics import QuantizedWeight

FORMATS = {
    "int": "pack-quantized",
    "int8": "int-quantized",
    "float8_e4m3fn": "float-quantized",
    "mxfp4": "mxfp4-pack-quantized",
    "nvfp4": "nvfp4-pack-quantized",
}
READ = (None, *FORMATS.values(), "naive-quantized", "mxfp8-quantized", "mixed-precision", "dense")


@dataclass(frozen=True)
class Scheme:
    """How one group of linears is stored and run.

    activations: None (kept in 16 bits), "token" (8 bits, scale computed for every
    token), "tensor" (8 bits, stored input_scale), or "group" (128 columns of a token).
    """

    kind: str
    bits: int
    strategy: str
    group_size: int
    symmetric: bool
    block: tuple[int, int] | None = None
    activations: str | None = None

    @property
    def format(self) -> str:
        """The name of the file format."""
        return FORMATS[self.kind]

    def group(self, targets: list[str]) -> dict[str, Any]:
        """Return the entry of `config_groups` for these modules."""
        return {
            "targets": targets,
            "weights": self._weights(),
            "input_activations": self._inputs(),
            "output_activations": None,
            "format": self.format,
        }

    def _weights(self) -> dict[str, Any]:
        entry = arguments(self.bits, "int" if self.kind in ("int", "int8") else "float", self.strategy)
        entry["symmetric"] = self.symmetric
        if self.strategy in ("group", "tensor_group"):
            entry["group_size"] = self.group_size
        if self.block:
            entry["block_structure"] = list(self.block)
        if self.kind in ("mxfp4", "nvfp4"):
            entry["scale_dtype"] = "torch.uint8" if self.kind == "mxfp4" else "torch.float8_e4m3fn"
        return entry

    def _inputs(self) -> dict[str, Any] | None:
        if self.activations is None:
            return None
        entry = arguments(8, "int" if self.kind == "int8" else "float", self.activations)
        entry["dynamic"] = self.activations != "tensor"
        if self.activations == "group":
            entry["group_size"] = 128
        return entry


def arguments(bits: int, type: str, strategy: str) -> dict[str, Any]:
    """Return the settings of symmetric weights, inputs or keys and values with fixed scales."""
    return {
        "num_bits": bits,
        "type": type,
        "symmetric": True,
        "strategy": strategy,
        "group_size": None,
        "block_structure": None,
        "dynamic": False,
        "actorder": None,
        "observer_kwargs": {},
    }


def scheme(layer: QuantizedWeight) -> Scheme:
    """Return the scheme under which a layer is stored."""
    block = layer.block_shape
    if layer.kind in ("mxfp4", "nvfp4"):
        strategy = "group" if layer.kind == "mxfp4" else "tensor_group"
    elif block:
        strategy = "block"
    elif layer.scale.numel() == 1 and layer.codes.shape[0] > 1:
        strategy = "tensor"
    else:
        strategy = "channel" if layer.scale.shape[1] == 1 and layer.group_size == -1 else "group"
    return Scheme(
        layer.kind,
        layer.bits,
        strategy,
        layer.group_size,
        layer.symmetric,
        tuple(block) if block else None,
        _activations(layer),
    )


def _activations(layer: QuantizedWeight) -> str | None:
    if layer.kind not in ("int8", "float8_e4m3fn"):
        return None
    if layer.input_scale is not None:
        return "tensor"
    return "group" if layer.block_shape else "token"


def parse(entry: dict[str, Any]) -> Scheme:
    """Return the scheme of one entry of `config_groups`. Raises QCourseError if it is unknown."""
    weights, inputs = entry.get("weights"), entry.get("input_activations")
    if (form := entry.get("format")) not in READ:
        raise QCourseError(
            f"this checkpoint is compressed as {form!r}; {', '.join(filter(None, READ))} are read"
        )
    if not isinstance(weights, dict):
        raise QCourseError(
            "a group of this checkpoint says nothing of its weights; only weight schemes are read"
        )
    bits, strategy = weights.get("num_bits", 8), weights.get("strategy") or "tensor"
    kind = _kind(bits, weights.get("type", "int"), weights.get("group_size"), entry.get("format"), inputs)
    size = weights.get("group_size") if strategy in ("group", "tensor_group") else -1
    block = tuple(weights["block_structure"]) if strategy == "block" else None
    return Scheme(
        kind,
        bits,
        strategy,
        size,
        weights.get("symmetric", True),
        block,
        inputs.get("strategy") if inputs else None,
    )


def _kind(bits: int, type: str, group_size: int | None, format: str | None, inputs: dict | None) -> str:
    if type == "float":
        kinds = {(8, None): "float8_e4m3fn", (4, 16): "nvfp4", (4, 32): "mxfp4"}
        kind = kinds.get((bits, group_size if bits == 4 else None))
        if kind is None:
            raise QCourseError(
                f"{bits}-bit floats in groups of {group_size} are not read; FP8, NVFP4 and MXFP4 are"
            )
        return kind
    return "int8" if format in ("int-quantized", "naive-quantized") or (bits == 8 and inputs) else "int"


def group_of(name: str, groups: dict[str, Any]) -> dict[str, Any]:
    """Return the group that means this module: by its name, else by a pattern ("re:..."), else by its class.

    Raises ValueError where none does.
    """
    kind = "Embedding" if name.endswith("embed_tokens") else "Linear"
    for means in (
        lambda target: target == name,
        lambda target: target.startswith("re:") and re.match(target[3:], name),
        lambda target: target == kind,
    ):
        if found := [entry for entry in groups.values() if any(map(means, entry["targets"]))]:
            return found[0]
    raise ValueError("no group of quantization_config names it")
