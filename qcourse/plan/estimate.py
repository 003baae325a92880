"""One model on one device under one recipe: bytes, whether it fits, and the roofline's bounds."""

from dataclasses import dataclass
from typing import Any

from qcourse.common import QCourseError
from qcourse.models import ModelShape, shape
from qcourse.plan.bounds import Roofline, roofline
from qcourse.plan.hardware import Accelerator, accelerator
from qcourse.plan.memory import kv_bytes_per_token, weights_bytes
from qcourse.recipe import Recipe, named

USABLE = 0.9  # engines keep a tenth for activations, graphs and the driver (vLLM's gpu_memory_utilization)


@dataclass(frozen=True)
class Plan:
    """What a model needs and what the device has, in bytes.

    total_bytes = weights_bytes + kv_cache_bytes; fits: total_bytes within usable_bytes.
    """

    model: ModelShape
    recipe: Recipe
    device: Accelerator
    context: int
    batch: int
    kv_cache_dtype: str
    weights_bytes: int
    kv_bytes_per_token: int
    kv_cache_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights and the KV cache of the whole batch at full context."""
        return self.weights_bytes + self.kv_cache_bytes

    @property
    def usable_bytes(self) -> int:
        """What an engine may take of the device's memory."""
        return int(self.device.memory_bytes * USABLE)

    @property
    def fits(self) -> bool:
        """Whether weights and cache go into the usable memory."""
        return self.total_bytes <= self.usable_bytes

    @property
    def sequences(self) -> int:
        """How many sequences of full context fit beside the weights."""
        room = self.usable_bytes - self.weights_bytes
        return max(0, room // (self.kv_bytes_per_token * self.context))

    @property
    def bounds(self) -> Roofline | None:
        """The roofline's lower bounds on time, where the device's figures are known."""
        return roofline(self.model, self.recipe, self.device, self.weights_bytes, self.kv_cache_bytes,
                        self.batch, self.context)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, the contract's five keys among them."""
        bounds = self.bounds
        return {
            "model": self.model.name,
            "parameters": self.model.total_parameters,
            "recipe": self.recipe.name,
            "gpu": self.device.name,
            "gpu_source": self.device.source,
            "context": self.context,
            "batch": self.batch,
            "kv_cache_dtype": self.kv_cache_dtype,
            "weights_bytes": self.weights_bytes,
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "kv_cache_bytes": self.kv_cache_bytes,
            "total_bytes": self.total_bytes,
            "usable_bytes": self.usable_bytes,
            "fits": self.fits,
            "sequences_that_fit": self.sequences,
            "decode_seconds_at_least": bounds and bounds.decode,
            "prefill_seconds_at_least": bounds and bounds.prefill,
            "decode_bound_by": bounds and bounds.decode_bound,
            "batch_at_ridge": bounds and bounds.batch_at_ridge,
        }

    def __str__(self) -> str:
        """Return the plan as the lines that the command prints."""
        fits = "fits" if self.fits else "does not fit"
        lines = [
            f"{self.model.name}: {self.model.total_parameters / 1e9:.2f} B parameters, {self.recipe.name}",
            f"  weights        {size(self.weights_bytes):>10}",
            f"  KV cache       {size(self.kv_cache_bytes):>10}   {self.kv_bytes_per_token / 1024:g} KiB"
            f" a token x {self.context:,} tokens x {self.batch} ({self.kv_cache_dtype})",
            f"  total          {size(self.total_bytes):>10}   {fits} in {size(self.usable_bytes)} usable of "
            f"{self.device.name} ({USABLE:.0%} of {size(self.device.memory_bytes)})",
            f"  room for       {self.sequences:>10,}   sequences of {self.context:,} tokens",
        ]
        return "\n".join([*lines, *self.describe_bounds()])

    def describe_bounds(self) -> list[str]:
        """Return the roofline's lines, or the reason why there are none."""
        if self.bounds is None:
            return [f"  speed          no bound: bandwidth and FLOPS of {self.device.name} are not tabled"]
        return [
            f"  decode         {1e3 * self.bounds.decode:>7.1f} ms   a step at least, bound by "
            f"{self.bounds.decode_bound} (turns at batch {self.bounds.batch_at_ridge:.0f})",
            f"  prefill        {1e3 * self.bounds.prefill:>7.1f} ms   at least for {self.context:,} tokens",
        ]


def plan(
    model: object,
    gpu: str | Accelerator | None = None,
    recipe: str | Recipe = "bf16",
    context: int | None = None,
    batch: int = 1,
    kv_cache_dtype: str = "auto",
) -> Plan:
    """Return the Plan of a model (name, folder, hub id, config) on a device (None: this machine).

    context: tokens a sequence, the model's own limit at most; 4,096 or that limit when None.
    Raises QCourseError for unknown names and for a context or batch that cannot be.
    """
    sizes = shape(model)
    limit = sizes.context or 4096
    context = min(4096, limit) if context is None else context
    if context < 1 or batch < 1:
        raise QCourseError(f"context and batch must be at least 1, not {context} and {batch}")
    if sizes.context and context > sizes.context:
        raise QCourseError(
            f"{sizes.name} takes at most {sizes.context:,} tokens, not {context:,}; ask for that many"
        )
    chosen = named(recipe) if isinstance(recipe, str) else recipe
    device = gpu if isinstance(gpu, Accelerator) else accelerator(gpu)
    per_token = kv_bytes_per_token(sizes, kv_cache_dtype)
    return Plan(sizes, chosen, device, context, batch, kv_cache_dtype, weights_bytes(sizes, chosen),
                per_token, per_token * context * batch)  # fmt: skip


def size(count: float) -> str:
    """Return bytes as a short text: 3.89 GB, 42.1 MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
