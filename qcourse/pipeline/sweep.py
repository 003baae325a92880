"""Sweeps: a grid of recipes quantized and measured one by one, in this process or as Ray tasks."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError, results_folder
from qcourse.common.tables import read_yaml
from qcourse.common.validation import read_as

if TYPE_CHECKING:
    from qcourse.measure.scoreboard import Row
    from qcourse.recipe import Recipe


@dataclass(frozen=True)
class Sweep:
    """What a sweep does: a model, recipes by name, windows x context tokens, items a skill, where rows go.

    In the file, an entry of recipes is a name, or lists such as {method: [rtn, gptq], bits: [3, 4]}.
    """

    recipes: list[str | dict[str, Any]]
    model: str = "pico"
    windows: int = 16
    context: int = 512
    items: int = 0
    scoreboard: Path = field(default_factory=lambda: results_folder() / "sweep.jsonl")


def read_sweep(path: Path) -> Sweep:
    """Return the sweep of a YAML file; lists of a recipe's parts are multiplied out.

    A recipe may be a name, a recipe's JSON file, or method, bits and group_size.
    Raises QCourseError for what is unknown, before anything is computed.
    """
    from qcourse.recipe import named

    values = read_yaml(path)
    if not isinstance(values, dict) or not values.get("recipes"):
        raise QCourseError(
            f"{path} must hold `model` and a list `recipes`, such as [rtn-w4g128, gptq-w4g128]"
        )
    found = read_as(Sweep, values, str(path))
    names = [name for entry in found.recipes for name in expand(entry)]
    return replace(found, recipes=list(dict.fromkeys(named(name).name for name in names)))


def expand(entry: str | dict[str, Any]) -> list[str]:
    """Return the recipe names that one entry of the grid stands for."""
    from itertools import product

    if isinstance(entry, str):
        return [entry]
    if not isinstance(entry, dict) or "method" not in entry or set(entry) - {"method", "bits", "group_size"}:
        raise QCourseError(
            f"{entry!r} is no entry of a grid; write a recipe's name, or method, bits and group_size"
        )
    parts = [entry["method"], entry.get("bits", 4), entry.get("group_size")]
    return [
        f"{method}-w{bits}" + {-1: "-channel", None: ""}.get(group, f"g{group}")
        for method, bits, group in product(*(part if isinstance(part, list) else [part] for part in parts))
    ]


def sweep(grid: Sweep) -> list["Row"]:
    """Measure every recipe of the sweep that has no row yet; return the rows of all, in its order."""
    from qcourse.measure import scoreboard

    wanted = recipes_of(grid)
    rows = measured(grid, wanted)
    missing = [name for name in wanted if name not in rows]
    print(f"{len(wanted)} recipes, {len(wanted) - len(missing)} measured before", flush=True)
    for row in results(grid, missing):
        scoreboard.append(grid.scoreboard, row)
        rows[row.recipe] = row
        print(f"  {row.recipe}: {row.bits_per_weight or 0:.2f} bits, KL {row.kl_mean:.5f}", flush=True)
    return [rows[name] for name in wanted]


def recipes_of(grid: Sweep) -> dict[str, "Recipe"]:
    """Return the recipes by name, with the group size that fits the model where none was named."""
    from qcourse import models
    from qcourse.recipe import fit, named

    widths = models.widths(models.skeleton(models.resolve(grid.model)))
    fitted = [fit(named(name), widths) for entry in grid.recipes for name in expand(entry)]
    return {recipe.name: recipe for recipe in fitted}


def measured(grid: Sweep, wanted: dict[str, "Recipe"]) -> dict[str, "Row"]:
    """Return the scoreboard's rows of the model, windows, items and recipes, by the recipe's name."""
    from qcourse import models
    from qcourse.common import content_hash
    from qcourse.measure import evaluation_tokens, scoreboard
    from qcourse.models.load import load_tokenizer

    folder = models.resolve(grid.model)
    text = evaluation_tokens(load_tokenizer(folder), grid.windows, grid.context)
    rows = scoreboard.select(
        scoreboard.read(grid.scoreboard, latest=False), engine="transformers",
        model_hash=content_hash(folder)[:16], evaluation_hash=text.hash, n_items=grid.items or None,
    )  # fmt: skip
    names = {recipe.hash: name for name, recipe in wanted.items()}
    return {names[row.recipe_hash]: row for row in rows if row.recipe_hash in names}


def results(grid: Sweep, names: list[str]) -> Any:
    """Yield one row a recipe: as Ray tasks if QCOURSE_RAY names a cluster, else one after the other here."""
    cluster = os.environ.get("QCOURSE_RAY")
    if not cluster:
        yield from (measure_recipe(grid, name) for name in names)
        return
    try:
        import ray
    except ImportError:
        raise QCourseError(
            "QCOURSE_RAY is set and ray is not installed; make extras installs it, or unset QCOURSE_RAY"
        ) from None
    ray.init(address=cluster, ignore_reinit_error=True)
    waiting = [ray.remote(measure_recipe).remote(grid, name) for name in names]
    while waiting:
        done, waiting = ray.wait(waiting)
        yield from ray.get(done)


def measure_recipe(grid: Sweep, name: str) -> "Row":
    """Quantize the grid's model by one recipe and measure it against the model itself."""
    from qcourse import models
    from qcourse.measure import EvaluationConfig, evaluate, evaluation_tokens
    from qcourse.pipeline.build import quantized
    from qcourse.skills import asked_of

    reference = models.load(grid.model)
    made = quantized(models.load(grid.model), name, progress=True)
    text = evaluation_tokens(reference.tokenizer, grid.windows, grid.context)
    return evaluate(made, reference, text, recipe=made.recipe, tokenizer=reference.tokenizer,
                    config=EvaluationConfig(asked_of(grid.model), grid.items, time=False))  # fmt: skip
