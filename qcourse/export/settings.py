"""What a set of quantized layers has in common, and which layers differ."""

from collections import Counter
from typing import NamedTuple

from torch import nn

from qcourse.common import QCourseError
from qcourse.numerics import QuantizedWeight


class LayerSettings(NamedTuple):
    """The settings that a checkpoint's configuration states for a layer."""

    kind: str
    bits: int
    group_size: int
    symmetric: bool


def settings_of(layer: QuantizedWeight) -> LayerSettings:
    """Return the settings of one layer."""
    return LayerSettings(layer.kind, layer.bits, layer.group_size, layer.symmetric)


def common_settings(layers: dict[str, QuantizedWeight]) -> LayerSettings:
    """Return the settings of most layers. Raises QCourseError if there are no layers."""
    if not layers:
        raise QCourseError("there is no quantized layer; quantize the model first, or write it merged")
    return Counter(settings_of(layer) for layer in layers.values()).most_common(1)[0][0]


def require_kind(layers: dict[str, QuantizedWeight], kinds: tuple[str, ...], format: str, fix: str) -> None:
    """Raise QCourseError for the first layer whose kind the format cannot store, with what can."""
    for name, layer in layers.items():
        if layer.kind not in kinds:
            raise QCourseError(
                f"{name} is {layer.kind}, but {format} files hold only {', '.join(kinds)}; {fix}"
            )


def require_multiple(name: str, what: str, size: int, multiple: int, format: str) -> None:
    """Raise QCourseError if a dimension is not a multiple of what the format packs together."""
    if size % multiple:
        raise QCourseError(
            f"{name} has {size} {what}, but {format} packs {multiple} together; "
            "write it as compressed-tensors, which has no such limit"
        )


def kept_linears(model: nn.Module, quantized: set[str]) -> list[str]:
    """Return the names of the linears and routers of a model that stay as they are, in model order."""
    steer = {f"{name}.gate" for name, module in model.named_modules() if hasattr(module, "experts")}
    return [
        name
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) or name in steer)
        and not any(name == layer or name.startswith(f"{layer}.") for layer in quantized)
    ]
