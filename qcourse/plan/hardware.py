"""The accelerators of data/hardware.yaml, and the machine at hand."""

import dataclasses
import functools
import re
from dataclasses import dataclass

from qcourse.common import QCourseError
from qcourse.common.machine import cpu_name, gpus, memory_limit
from qcourse.common.tables import data_table


@dataclass(frozen=True)
class Accelerator:
    """Where a model is to run. Figures without a source are None.

    memory_bytes as sold or as the driver reports it; bandwidth in bytes/s; flops dense, 1/s;
    formats: the narrow floats that its matrix units multiply, whatever its vendor.
    """

    name: str
    memory_bytes: int
    bandwidth: float | None = None
    bf16_flops: float | None = None
    fp8_flops: float | None = None
    int8_flops: float | None = None
    fp4_flops: float | None = None
    capability: str | None = None
    formats: tuple[str, ...] = ()
    source: str = "this machine"

    @property
    def is_cpu(self) -> bool:
        """Whether this stands for a CPU and its memory."""
        return self.name.startswith("cpu")

    def at_least(self, capability: float) -> bool:
        """Whether the CUDA compute capability is known and at least this."""
        return self.capability is not None and float(self.capability) >= capability

    def multiplies(self, number_format: str) -> bool:
        """Whether its matrix units multiply this format ("fp8", "fp4")."""
        return number_format in self.formats


@functools.cache
def accelerators() -> dict[str, Accelerator]:
    """Return the tabled accelerators by lower-case name and alias."""
    rows = data_table("hardware.yaml")
    found = {row["name"]: from_row(row) for row in rows}
    return {key.lower(): found[row["name"]] for row in rows for key in (row["name"], *row["aliases"])}


def from_row(row: dict) -> Accelerator:
    """Return the accelerator of one row of the table."""
    columns = ("bandwidth_gbs", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops")
    figures = [row[name] and row[name] * (1e9 if name.endswith("gbs") else 1e12) for name in columns]
    memory, formats = round(row["memory_gb"] * 1e9), tuple(row["formats"])
    return Accelerator(row["name"], memory, *figures, row["capability"], formats, row["source"])


def accelerator(name: str | None = None) -> Accelerator:
    """Return a tabled accelerator, "cpu", a size alone ("24GB", "24GiB"), or for None the machine at hand.

    `RTX 4090`, `rtx4090` and `4090` are one card.
    """
    if name is None:
        return detected()
    if found := next((item for key, item in accelerators().items() if plain(key) == plain(name)), None):
        return found
    if name.lower() == "cpu":
        return Accelerator(f"cpu ({cpu_name()})", memory_limit())
    if size := re.fullmatch(r"([\d.]+) ?(gb|gib)", name.lower()):
        return of_size(name, float(size[1]) * (2**30 if size[2] == "gib" else 10**9))
    known = ", ".join(sorted({item.name for item in accelerators().values()}))
    raise QCourseError(f"unknown GPU {name!r}; known are {known}, cpu, or a size such as 24GB or 24GiB")


def of_size(name: str, memory: float) -> Accelerator:
    """Return an accelerator of which only the memory is known."""
    if memory < 10**6:
        raise QCourseError(f"{name} of memory holds no model; give the device's size, such as 24GB")
    return Accelerator(name, round(memory), source="the size that was asked for")


def plain(name: str) -> str:
    """Return a device's name without maker and series: "4090" for "NVIDIA GeForce RTX 4090"."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"nvidia|geforce|apple", "", letters).removeprefix("rtx")


def detected() -> Accelerator:
    """Return the first NVIDIA GPU with its tabled figures where the name is known, else the CPU."""
    for gpu in gpus():
        return dataclasses.replace(
            tabled(gpu["name"]) or Accelerator(gpu["name"], 0),
            name=gpu["name"],
            memory_bytes=gpu["memory_bytes"],
            capability=gpu["capability"],
            source="this machine",
        )
    return accelerator("cpu")


def tabled(name: str) -> Accelerator | None:
    """Return the row whose words are most fully in a driver's device name; a laptop's chip is another one."""
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    found = [key for key in accelerators() if set(key.split("-")) <= words]
    if "laptop" in words or not found:
        return None
    return accelerators()[max(found, key=lambda key: len(key.split("-")))]
