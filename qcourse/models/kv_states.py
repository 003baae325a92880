"""The keys and values of a model where a cache would take them: after rotary embedding, before attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from qcourse.models.modules import decoder_layers

Change = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a layer's index, its keys and its values, both [batch, kv_heads, tokens, head_dim], to new ones."""


@dataclass
class KeyValueTap:
    """Stands where attention expects a cache: changes new keys and values, hands them to the real one."""

    change: Change
    cache: Any = None

    def update(self, key: Tensor, value: Tensor, layer: int, *more: Any, **named: Any) -> tuple:
        """Return the keys and values that the attention reads, those of earlier tokens included."""
        key, value = self.change(layer, key, value)
        return (key, value) if self.cache is None else self.cache.update(key, value, layer, *more, **named)


@contextmanager
def changed_keys_values(model: nn.Module, change: Change) -> Iterator[None]:
    """Pass each attention's new keys and values through `change`, with or without a cache behind it.

    Whatever computes the attention stays as it is. Raises QCourseError for an unsupported architecture.
    """
    handles = [
        layer.self_attn.register_forward_pre_hook(partial(tap_cache, change), with_kwargs=True)
        for layer in decoder_layers(model)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tap_cache(change: Change, _: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    """Put a tap in front of the cache, or of none, that an attention module is called with."""
    return args, kwargs | {"past_key_values": KeyValueTap(change, kwargs.get("past_key_values"))}
