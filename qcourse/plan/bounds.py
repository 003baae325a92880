"""Lower bounds on time from the two walls of the roofline: bytes moved and multiplications done."""

from dataclasses import dataclass

from qcourse.models import ModelShape
from qcourse.plan.hardware import Accelerator
from qcourse.recipe import Recipe

MULTIPLIES_IN_8_BIT = ("fp8-dynamic", "fp8-static", "fp8-block")
MULTIPLIES_INTEGERS = ("w8a8-int8",)


@dataclass(frozen=True)
class Roofline:
    """Bounds in seconds; a real engine is slower by its overheads.

    decode: one step that gives every sequence of the batch one token.
    prefill: a prompt of `context` tokens, one sequence; None where the rate is not known (decoding
    is then bounded by memory alone).
    decode_bound: "memory" or "compute"; batch_at_ridge: where decoding turns from one to the
    other, None where the KV cache of a sequence takes longer to read than its token to compute.
    """

    decode: float
    prefill: float | None
    decode_bound: str
    batch_at_ridge: float | None


def roofline(shape: ModelShape, recipe: Recipe | None, device: Accelerator, weights: int, kv: int, batch: int,
             context: int, devices: int = 1) -> Roofline | None:  # fmt: skip
    """Return the bounds, or None where the table has no sourced bandwidth of the device.

    weights, kv: bytes read in one decode step of the whole batch. A token costs two operations per
    active parameter (attention over the context is left out: small below about 10,000 tokens).
    """
    rate = rate_of(shape.own_method if recipe is None else recipe.method, device)
    if not device.bandwidth:
        return None
    bandwidth = devices * device.bandwidth
    read, moved, cache = weights / bandwidth, (weights + kv) / bandwidth, kv / batch / bandwidth
    if not rate:
        return Roofline(moved, None, "memory", None)
    token = 2 * shape.active_parameters / rate / devices
    return Roofline(
        decode=max(moved, batch * token),
        prefill=max(read, context * token),
        decode_bound="memory" if moved >= batch * token else "compute",
        batch_at_ridge=read / (token - cache) if token > cache else None,
    )


def rate_of(method: str, device: Accelerator) -> float | None:
    """Return the operations a second that the device does on what a method multiplies."""
    if method in MULTIPLIES_IN_8_BIT:
        return device.fp8_flops
    return device.int8_flops if method in MULTIPLIES_INTEGERS else device.bf16_flops
