"""What an engine can run on a device: the compatibility table, and what a device lacks of a row of it."""

from qcourse.common.machine import cpu_flags, saturates_int8
from qcourse.plan.hardware import Accelerator
from qcourse.recipe import Recipe, compatibility


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
    if capability == "cpu-vnni" and device.is_cpu and saturates_int8():
        return "vLLM's int8 products need VNNI, which this CPU lacks"
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
