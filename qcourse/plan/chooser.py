"""The lane chooser: which ways of shipping a model this device can run, the recommended one first."""

from dataclasses import dataclass

from qcourse.common import QCourseError
from qcourse.common.machine import cpu_flags
from qcourse.models import ModelShape, shape
from qcourse.plan.estimate import Plan, fitted, plan
from qcourse.plan.hardware import Accelerator
from qcourse.recipe import Recipe, compatibility, named


@dataclass(frozen=True)
class Lane:
    """One way of shipping: recipe, file format, engine, KV-cache type, and why it stands where it stands."""

    recipe: str
    format: str
    engine: str
    kv_cache_dtype: str
    runs: bool
    reason: str
    plan: Plan

    @property
    def works(self) -> bool:
        """Whether the engine runs it on this device and it fits."""
        return self.runs and self.plan.fits


# recipe, format, engine, KV cache, what speaks for it. Order: the field's default advice for
# serving, best quality at 8 bits first; `lanes` moves what fails or does not fit to the end.
CANDIDATES = (
    (
        "fp8-dynamic",
        "compressed-tensors",
        "vllm",
        "fp8",
        "8-bit tensor cores; closest to bf16 of the compressed lanes",
    ),
    (
        "smoothquant+w8a8-int8",
        "compressed-tensors",
        "vllm",
        "auto",
        "8-bit integer arithmetic, good for large batches",
    ),
    ("bf16", "merged", "vllm", "auto", "nothing is lost; the baseline of all others"),
    ("awq-w4", "awq", "vllm", "auto", "a quarter of the bytes: fastest decoding at small batches"),
    ("gptq-w4", "gptq", "vllm", "auto", "a quarter of the bytes, symmetric: widest choice of kernels"),
    (
        "gguf-q4_k_m",
        "gguf",
        "llama.cpp",
        "auto",
        "runs anywhere, laptops included, split between CPU and GPU if need be",
    ),
    (
        "nf4",
        "bitsandbytes",
        "transformers",
        "auto",
        "no calibration, and adapters can be trained on it (QLoRA)",
    ),
)


def lanes(model: object, device: Accelerator, context: int | None = None, batch: int = 1) -> list[Lane]:
    """Return every lane with its plan on the device: what works first, in the order of CANDIDATES.

    On a CPU the lanes made for it lead: 4-bit GGUF, then vLLM's CPU kernels where AVX-512 is there.
    """
    found = [candidate(model, device, row, context, batch) for row in CANDIDATES]
    if device.is_cpu:
        found.sort(key=lambda lane: lane.engine != "llama.cpp")
    return sorted(found, key=lambda lane: not lane.works)


def candidate(model: object, device: Accelerator, row: tuple, context: int | None, batch: int) -> Lane:
    """Return one lane judged on the device."""
    name, form, engine, kv, merit = row
    recipe = that_fits(name, shape(model))
    runs, obstacle = can_run(recipe, form, engine, device)
    estimate = plan(model, device, recipe, context, batch, kv if runs else "auto")
    if runs and not estimate.fits:
        obstacle = "does not fit beside its KV cache"
    return Lane(recipe.name, form, engine, kv, runs, obstacle or merit, estimate)


def that_fits(name: str, sizes: ModelShape) -> Recipe:
    """Return the recipe of a name as it fits; for a GGUF type whose blocks do not, one of small blocks."""
    try:
        return fitted(named(name), sizes)
    except QCourseError:
        return fitted(named("gguf-iq4_nl"), sizes)


def can_run(recipe: Recipe, form: str, engine: str, device: Accelerator) -> tuple[bool, str]:
    """Return whether the engine can run the recipe's file on the device, and if not, why."""
    rows = [row for row in compatibility(recipe, form) if row["engine"] == engine]
    obstacle = next(
        (row["evidence"] for row in rows if row["loads"] == "no"), f"{engine} has no reader for it"
    )
    for row in rows:
        if row["loads"] == "no":
            continue
        lacking = lacks(str(row["capability"]), device, recipe.method)
        if not lacking:
            return True, ""
        obstacle = lacking
    return False, obstacle


def lacks(capability: str, device: Accelerator, method: str = "") -> str:
    """Return what the device lacks of a capability of the compatibility table, or ""."""
    if method == "w8a8-int8" and device.at_least(10.0):
        return f"vLLM's INT8 kernels stop at compute capability 9.0; {device.name} has {device.capability}"
    if method.startswith("fp8") and device.capability is None and device.multiplies("fp8"):
        return ""  # AMD's and Intel's units multiply FP8 and have no CUDA capability
    if capability == "cpu-avx512" and device.is_cpu and "avx512f" not in cpu_flags():
        return "vLLM's 4-bit CPU kernels need AVX-512, which this CPU lacks"
    return lacks_cuda(float(capability[5:]), device) if capability.startswith("cuda-") else ""


def lacks_cuda(needed: float, device: Accelerator) -> str:
    """Return why the device has not this CUDA compute capability, or ""."""
    if device.is_cpu:
        return f"needs a GPU of compute capability {needed} or newer"
    if device.capability is None:
        return f"needs compute capability {needed}; none is known of {device.name}"
    if device.at_least(needed):
        return ""
    only = "; vLLM would multiply in 16 bits there" if needed == 8.9 and device.at_least(8.0) else ""
    return f"needs compute capability {needed}; {device.name} has {device.capability}{only}"
