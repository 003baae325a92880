"""One model on one device under one recipe: bytes, whether it fits, and the roofline's bounds."""

from dataclasses import dataclass
from typing import Any

from qcourse.common import QCourseError
from qcourse.models import ModelShape, shape
from qcourse.plan.bounds import Roofline, roofline
from qcourse.plan.hardware import Accelerator, accelerator
from qcourse.plan.memory import kv_bytes_per_token, kv_cache_bytes, read_bytes, weights_bytes
from qcourse.plan.parallel import check_split, kv_share
from qcourse.plan.report import report
from qcourse.recipe import Recipe, fit, named

OWN = (  # of a plan's attributes, those that `to_dict` gives under their own names
    "context", "batch", "kv_cache_dtype", "weights_bytes", "kv_bytes_per_token", "kv_cache_bytes",
    "total_bytes", "tensor_parallel", "device_bytes", "usable_bytes", "fits",
)  # fmt: skip
USABLE = 0.9  # engines keep a tenth for activations, graphs and the driver (vLLM's gpu_memory_utilization)


@dataclass(frozen=True)
class Plan:
    """What a model needs and what the device has, in bytes.

    total_bytes = weights_bytes + kv_cache_bytes, on all `tensor_parallel` devices together;
    fits: device_bytes, what each of them holds, within usable_bytes. recipe None: as published.
    """

    model: ModelShape
    recipe: Recipe | None
    device: Accelerator
    context: int
    batch: int
    kv_cache_dtype: str
    weights_bytes: int
    kv_bytes_per_token: int
    kv_cache_bytes: int
    tensor_parallel: int = 1

    @property
    def name(self) -> str:
        """The recipe's name, or how the model is published."""
        if self.recipe is not None:
            return self.recipe.name
        return f"{self.model.own_method} as published" if self.model.own_method else "bf16"

    @property
    def device_bytes(self) -> int:
        """What one of the devices holds; KV heads that are fewer than the devices are repeated."""
        share = kv_share(self.model, self.tensor_parallel)
        return round(self.weights_bytes / self.tensor_parallel + self.kv_cache_bytes * share)

    @property
    def total_bytes(self) -> int:
        """Weights and the KV cache of the whole batch at full context."""
        return self.weights_bytes + self.kv_cache_bytes

    @property
    def usable_bytes(self) -> int:
        """What an engine may take of one device's memory."""
        return int(self.device.memory_bytes * USABLE)

    @property
    def fits(self) -> bool:
        """Whether weights and cache go into the usable memory."""
        return self.device_bytes <= self.usable_bytes

    @property
    def sequences(self) -> int:
        """How many sequences of full context fit beside the weights."""
        room = self.usable_bytes - self.weights_bytes / self.tensor_parallel
        one = self.kv_cache_bytes / self.batch * kv_share(self.model, self.tensor_parallel)
        return max(0, int(room // one))

    @property
    def bounds(self) -> Roofline | None:
        """The roofline's lower bounds on time, where the device's figures are known."""
        return roofline(self.model, self.recipe, self.device, read_bytes(self.model, self.recipe),
                        self.kv_cache_bytes, self.batch, self.context, self.tensor_parallel)  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, the contract's five keys among them."""
        bounds = self.bounds
        return {
            "model": self.model.name,
            "parameters": self.model.total_parameters,
            "active_parameters": self.model.active_parameters,
            "recipe": self.name,
            "gpu": self.device.name,
            "gpu_source": self.device.source,
            **{name: getattr(self, name) for name in OWN},
            "sequences_that_fit": self.sequences,
            "decode_seconds_at_least": bounds and bounds.decode,
            "prefill_seconds_at_least": bounds and bounds.prefill,
            "decode_bound_by": bounds and bounds.decode_bound,
            "batch_at_ridge": bounds and bounds.batch_at_ridge,
        }

    def __str__(self) -> str:
        """Return the plan as the lines that the command prints."""
        return report(self)


def plan(
    model: object,
    gpu: str | Accelerator | None = None,
    recipe: str | Recipe | None = None,
    context: int | None = None,
    batch: int = 1,
    kv_cache_dtype: str = "auto",
    tensor_parallel: int = 1,
) -> Plan:
    """Return the Plan of a model (name, folder, hub id, config) on a device (None: this machine).

    recipe None: as the model is published (bf16 unless its configuration says otherwise).
    context: tokens a sequence, the model's own limit at most; 4,096 or that limit when None.
    Raises QCourseError for unknown names, a recipe that does not fit, a context or batch that cannot be, and
    for a model that `tensor_parallel` devices cannot share.
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
    chosen = fitted(named(recipe) if isinstance(recipe, str) else recipe, sizes)
    device = gpu if isinstance(gpu, Accelerator) else accelerator(gpu)
    check_split(sizes, chosen, tensor_parallel)
    return Plan(sizes, chosen, device, context, batch, kv_cache_dtype, weights_bytes(sizes, chosen),
                kv_bytes_per_token(sizes, kv_cache_dtype),
                kv_cache_bytes(sizes, context, batch, kv_cache_dtype), tensor_parallel)  # fmt: skip


def fitted(recipe: Recipe | None, sizes: ModelShape) -> Recipe | None:
    """Return the recipe with the group size that `quantize` would choose; QCourseError if it refuses it."""
    if recipe is None or recipe.overrides:  # an override names linears, and a shape has none
        return recipe
    return fit(recipe, {f"{one.kind} linears": one.columns for one in sizes.linears})
