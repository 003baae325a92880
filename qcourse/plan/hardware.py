"""The accelerators of data/hardware.yaml, and the machine at hand."""

import functools
import re
from dataclasses import dataclass

from qcourse.common import QCourseError, data_folder
from qcourse.common.machine import cpu_name, gpus, memory_limit


@dataclass(frozen=True)
class Accelerator:
    """Where a model is to run. Figures without a source are None.

    memory_bytes as sold or as the driver reports it; bandwidth in bytes/s; flops dense, 1/s.
    """

    name: str
    memory_bytes: int
    bandwidth: float | None = None
    bf16_flops: float | None = None
    fp8_flops: float | None = None
    int8_flops: float | None = None
    fp4_flops: float | None = None
    capability: str | None = None
    source: str = "this machine"

    @property
    def is_cpu(self) -> bool:
        """Whether this stands for a CPU and its memory."""
        return self.name.startswith("cpu")

    def at_least(self, capability: float) -> bool:
        """Whether the CUDA compute capability is known and at least this."""
        return self.capability is not None and float(self.capability) >= capability


@functools.cache
def accelerators() -> dict[str, Accelerator]:
    """Return the tabled accelerators by lower-case name and alias."""
    import yaml

    rows = yaml.safe_load((data_folder() / "hardware.yaml").read_text())
    found = {row["name"]: from_row(row) for row in rows}
    return {key.lower(): found[row["name"]] for row in rows for key in (row["name"], *row["aliases"])}


def from_row(row: dict) -> Accelerator:
    """Return the accelerator of one row of the table."""
    return Accelerator(
        name=row["name"],
        memory_bytes=round(row["memory_gb"] * 1e9),
        bandwidth=row["bandwidth_gbs"] and row["bandwidth_gbs"] * 1e9,
        bf16_flops=row["bf16_tflops"] and row["bf16_tflops"] * 1e12,
        fp8_flops=row["fp8_tflops"] and row["fp8_tflops"] * 1e12,
        capability=row["capability"],
        source=row["source"],
    )


def accelerator(name: str | None = None) -> Accelerator:
    """Return a tabled accelerator, "cpu", "24GB" (a size alone), or for None the machine at hand."""
    if name is None:
        return detected()
    key = name.lower().replace(" ", "-")
    if key in accelerators():
        return accelerators()[key]
    if key == "cpu":
        return Accelerator(f"cpu ({cpu_name()})", memory_limit())
    if key.endswith("gb") and key[:-2].replace(".", "", 1).isdigit():
        return Accelerator(name, round(float(key[:-2]) * 1e9), source="the size that was asked for")
    known = ", ".join(sorted({item.name for item in accelerators().values()}))
    raise QCourseError(f"unknown GPU {name!r}; known are {known}, cpu, or a size such as 24GB")


def detected() -> Accelerator:
    """Return the first NVIDIA GPU with its tabled figures where the name is known, else the CPU."""
    for gpu in gpus():
        words = set(re.findall(r"[a-z0-9]+", gpu["name"].lower()))
        tabled = next((item for key, item in accelerators().items() if set(key.split("-")) <= words), None)
        return Accelerator(
            name=gpu["name"],
            memory_bytes=gpu["memory_bytes"],
            bandwidth=tabled and tabled.bandwidth,
            bf16_flops=tabled and tabled.bf16_flops,
            fp8_flops=tabled and tabled.fp8_flops,
            capability=gpu["capability"],
        )
    return accelerator("cpu")
