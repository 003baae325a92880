"""A device that is pretended: tensors that hold their values in CPU memory and say that they live elsewhere.

What would fail on a GPU fails here, on any machine: an operation on tensors of both places (MixedDevices)
and numpy's conversion (TypeError). CUDA's allowances are kept: 0-dimensional CPU tensors, CPU indices. The
device answers to "meta", the one device type that every torch has and nothing here computes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ELSEWHERE = torch.device("meta")
MOVES = ("aten::copy_", "aten::_to_copy")


class MixedDevices(RuntimeError):
    """An operation was given tensors of both places."""


class Elsewhere(Tensor):
    """A tensor of the pretended device; `held` is a CPU tensor of its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "Elsewhere":
        tensor = Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=ELSEWHERE)  # fmt: skip
        tensor.held = real
        return tensor

    @property
    def data(self) -> "Elsewhere":
        """The tensor without its history; nn.Module assigns it."""
        return Elsewhere(self.held)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Elsewhere):
            raise MixedDevices("a parameter of the device is given a CPU tensor")
        self.held = value.held

    def numpy(self, *_: Any, **__: Any) -> None:
        raise TypeError("a tensor of the device has no numpy array; use .cpu() first")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"Elsewhere({self.held!r})"

    def __format__(self, spec: str) -> str:
        return format(self.held.item(), spec) if self.dim() == 0 else repr(self)

    def __deepcopy__(self, memo: dict) -> Tensor:
        copy = Elsewhere(self.held.clone())
        return nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


def compute(function: Any, args: tuple, kwargs: dict) -> Any:
    """Carry out an operation on the real values; the result lives where the operands or `device` say."""
    tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    check_places(function.name(), args, tensors, there)
    device = kwargs.get("device")
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    result = function(*tree_map(real_of, args), **tree_map(real_of, kwargs))
    elsewhere = bool(there) if device is None else torch.device(device) == ELSEWHERE
    if function.name() == "aten::copy_":
        elsewhere = isinstance(args[0], Elsewhere)
    known = {id(tensor.held): tensor for tensor in there}
    return tree_map(lambda item: placed(item, known), result) if elsewhere else result


def check_places(name: str, args: tuple, tensors: list[Tensor], there: list[Tensor]) -> None:
    """Raise MixedDevices where CUDA would refuse: CPU tensors beside others, 0-dimensional ones apart."""
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.dim() > 0]
    indexed = name.startswith(("aten::index.", "aten::index_put")) and isinstance(args[0], Elsewhere)
    if there and here and name not in MOVES and not indexed:
        raise MixedDevices(f"{name}: CPU tensors {[tuple(tensor.shape) for tensor in here]} beside others")


def real_of(item: Any) -> Any:
    """Return the values of a pretended tensor, anything else as it is."""
    return item.held if isinstance(item, Elsewhere) else item


def placed(item: Any, known: dict[int, Tensor]) -> Any:
    """Return a result as a tensor of the device: the operand that it is, where it is one."""
    if id(item) in known:
        return known[id(item)]
    return Elsewhere(item) if isinstance(item, Tensor) and not isinstance(item, Elsewhere) else item


class _Operations(TorchDispatchMode):
    """Sends factories (torch.zeros(..., device=...)) to `compute`."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return compute(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does with Python numbers before any operation is dispatched."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and device is not None:
            made = function(*args, **(kwargs | {"device": "cpu"}))
            return Elsewhere(made) if torch.device(device) == ELSEWHERE else made
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], tuple):
            index = tuple(torch.tensor(part) if isinstance(part, list) else part for part in args[1])
            args = (args[0], index, *args[2:])
        if function is torch.where and len(args) == 3:
            like = next((part for part in args[1:] if isinstance(part, Tensor)), torch.zeros(()))
            args = (args[0], *(part if isinstance(part, Tensor) else torch.tensor(part, dtype=like.dtype)
                               for part in args[1:]))  # fmt: skip
        return function(*args, **kwargs)


@contextmanager
def pretended_device() -> Iterator[None]:
    """Let tensors be made on the device; inference mode, which they cannot follow, becomes no_grad."""
    before = torch.inference_mode
    torch.inference_mode = lambda mode=True: torch.no_grad()(mode) if callable(mode) else torch.no_grad()
    try:
        with _Functions(), _Operations():
            yield
    finally:
        torch.inference_mode = before


def move(model: nn.Module) -> nn.Module:
    """Put a model's parameters and buffers on the pretended device; tied ones stay tied."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    there = Elsewhere(parameter.detach().clone())
                    moved[id(parameter)] = nn.Parameter(there, requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)]
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = Elsewhere(value.clone())
    return model
