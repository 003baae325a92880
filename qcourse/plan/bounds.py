"""Lower bounds on time from the two walls of the roofline: bytes moved and multiplications done."""

from dataclasses import dataclass

from qcourse.models import ModelShape
from qcourse.plan.hardware import Accelerator
from qcourse.recipe import Recipe

MULTIPLIES_IN_8_BIT = ("fp8-dynamic", "fp8-static", "fp8-block")


@dataclass(frozen=True)
class Roofline:
    """Bounds in seconds; a real engine is slower by its overheads.

    decode: one step that gives every sequence of the batch one token.
    prefill: a prompt of `context` tokens, one sequence.
    decode_bound: "memory" or "compute"; batch_at_ridge: where decoding turns from one to the other.
    """

    decode: float
    prefill: float
    decode_bound: str
    batch_at_ridge: float


def roofline(shape: ModelShape, recipe: Recipe, device: Accelerator, weights: int, kv: int, batch: int,
             context: int) -> Roofline | None:  # fmt: skip
    """Return the bounds, or None where the table has no sourced bandwidth and FLOPS of the device.

    weights, kv: bytes read in one decode step. A token costs two operations per active
    parameter (attention over the context is left out: small below about 10,000 tokens).
    """
    rate = device.fp8_flops if recipe.method in MULTIPLIES_IN_8_BIT else device.bf16_flops
    if not (device.bandwidth and rate):
        return None
    operations = 2 * active_parameters(shape)
    moved, computed = (weights + kv) / device.bandwidth, batch * operations / rate
    return Roofline(
        decode=max(moved, computed),
        prefill=max(weights / device.bandwidth, context * operations / rate),
        decode_bound="memory" if moved >= computed else "compute",
        batch_at_ridge=weights / device.bandwidth * rate / operations,
    )


def active_parameters(shape: ModelShape) -> int:
    """Return the parameters that one token multiplies with: linears (of its experts only) and the head."""
    kinds = shape.parameters
    mlp = kinds["mlp"] * shape.experts_per_token // shape.experts
    return kinds["attention"] + mlp + shape.vocabulary * shape.hidden
