"""The lane chooser: which ways of shipping a model this device can run, the recommended one first."""

import functools
from dataclasses import dataclass
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.tables import data_table
from qcourse.models import ModelShape, shape
from qcourse.plan.engines import can_run
from qcourse.plan.estimate import Plan, fitted, plan
from qcourse.plan.hardware import Accelerator
from qcourse.plan.launch import KV_FLAG
from qcourse.plan.parallel import check_split
from qcourse.recipe import Recipe, named


@dataclass(frozen=True)
class Lane:
    """One way of shipping: recipe, file format, engine, KV-cache type, and why it stands where it stands.

    agreements: top-1 agreement with bf16 in the course's own rows, by model; advice: its row of lanes.yaml.
    """

    recipe: str
    format: str
    engine: str
    kv_cache_dtype: str
    runs: bool
    reason: str
    plan: Plan
    agreements: dict[str, float]
    advice: dict[str, Any]

    @property
    def agreement(self) -> float | None:
        """The least agreement that our own rows show, None without a row."""
        return min(self.agreements.values(), default=None)

    @property
    def works(self) -> bool:
        """Whether the engine runs it on this device and it fits."""
        return self.runs and self.plan.fits

    @property
    def flags(self) -> str:
        """The flags of its server that the plan rests on."""
        kv = KV_FLAG.get((self.engine, self.kv_cache_dtype), "")
        if self.engine != "vllm":
            return kv or "none beyond the context"
        sizes = f"--max-model-len {self.plan.context} --max-num-seqs {self.plan.batch}"
        return f"{sizes} --tensor-parallel-size {self.plan.tensor_parallel} {kv}".strip()

    def explain(self) -> str:
        """Return reason, evidence, flags, what to measure, and where the articles disagree."""
        own = ", ".join(f"{share:.1%} on {model}" for model, share in self.agreements.items())
        lines = [
            f"{self.recipe} as {self.format} in {self.engine}: {self.reason}",
            f"  evidence       our own rows: top-1 as in bf16 at {own or 'none'}; claims "
            f"{', '.join(self.advice['claims'])}",
            f"  published      {self.advice['published']}",
            f"  flags          {self.flags}",
            f"  measure first  {self.advice['measure']}",
            f"  disagreement   {self.advice['disagree']}",
        ]
        return "\n".join(lines)


def table() -> dict[str, Any]:
    """Return data/lanes.yaml: the lanes in their default order, and their ranks by workload."""
    return data_table("lanes.yaml")


def rank_reason(workload: str) -> str:
    """Return why the lanes stand in this order for a workload."""
    return table()["ranks"][workload][1]


def lanes(model: object, device: Accelerator, context: int | None = None, batch: int = 1,
          workload: str = "chat", floor: float | None = None,
          tensor_parallel: int = 1) -> list[Lane]:  # fmt: skip
    """Return every lane with its plan on the device, the recommended one first.

    workload: one of the ranks of data/lanes.yaml; on a CPU the lanes made for it lead in any.
    floor: lowest top-1 agreement with bf16 (0 to 1, by our own rows) that is good enough; lanes below it,
    and then what does not work, come last.
    """
    if workload not in table()["ranks"]:
        raise QCourseError(f"unknown workload {workload!r}; known are {', '.join(table()['ranks'])}")
    if floor is not None and not 0 <= floor <= 1:
        raise QCourseError(f"the quality floor is a top-1 agreement between 0 and 1, not {floor}")
    order, _ = table()["ranks"][workload]
    place = {recipe: number for number, recipe in enumerate(order)}
    rows = sorted(table()["lanes"], key=lambda row: place.get(row["recipe"], len(place)))
    found = [candidate(model, device, row, context, batch, tensor_parallel) for row in rows]
    if device.is_cpu:
        found.sort(key=lambda lane: lane.engine != "llama.cpp")
    return sorted(found, key=lambda lane: (not lane.works, not meets(lane, floor)))


def meets(lane: Lane, floor: float | None) -> bool:
    """Whether our own rows of the lane reach the quality floor on every model; without a row it does not."""
    return floor is None or (lane.agreement is not None and lane.agreement >= floor)


def candidate(model: object, device: Accelerator, row: dict, context: int | None, batch: int,
              tensor_parallel: int) -> Lane:  # fmt: skip
    """Return one lane judged on the device; what the devices cannot share does not run on them."""
    recipe = that_fits(row["recipe"], shape(model))
    form, engine, kv = row["format"], row["engine"], row["kv_cache_dtype"]
    runs, obstacle = can_run(recipe, form, engine, device)
    kv_asked = kv if runs else "auto"
    try:
        check_split(shape(model), recipe, tensor_parallel)
    except QCourseError as error:
        runs, obstacle, tensor_parallel = False, str(error), 1
    estimate = plan(model, device, recipe, context, batch, kv_asked, tensor_parallel)
    if runs and not estimate.fits:
        obstacle = "does not fit beside its KV cache"
    reason = obstacle or row["merit"]
    return Lane(recipe.name, form, engine, kv, runs, reason, estimate, own_agreements(row), row)


def own_agreements(row: dict) -> dict[str, float]:
    """Return the top-1 agreement of a lane's own rows by model; from its engine where that was measured."""
    lane, engine = row["own"]
    base, found = row["recipe"].rsplit("+", 1)[-1], {}
    for model, rows in own_rows().items():
        of_lane = [one for one in rows if one.lane == lane and one.recipe.startswith(base)]
        for one in sorted(of_lane, key=lambda one: one.engine == engine):
            found[model] = one.top1_agreement
    return found


@functools.cache
def own_rows() -> dict[str, list[Any]]:
    """Return the rows of the scoreboards that ship with the course, by model; each file is read once."""
    from qcourse.measure import scoreboard

    return {model: scoreboard.read(path) for model, path in scoreboard.kept().items()}


def that_fits(name: str, sizes: ModelShape) -> Recipe:
    """Return the recipe of a name as it fits; for a GGUF type whose blocks do not, one of small blocks."""
    try:
        return fitted(named(name), sizes)
    except QCourseError:
        return fitted(named("gguf-iq4_nl"), sizes)
