"""Every lane of the course, end to end: artefact, its real engine, one row of the scoreboard."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, results_folder
from qcourse.lanes.lane import LANES, Lane, check_engine, opened, reference_and_artefact

ITEMS = 50
WINDOWS, CONTEXT = 8, 256


def measure_all(say: Callable[..., None], items: int = ITEMS) -> dict[str, str]:
    """Measure every lane into build/scoreboard.jsonl, a line each; return the skipped ones with reasons.

    items: questions a skill; 0 asks none, where a model is large and KL, top-1 and perplexity do.
    A lane that fails is reported and the next one goes on: the report names it with its error.
    """
    from qcourse import measure, models

    base = models.load()
    tokens = measure.evaluation_tokens(base.tokenizer, WINDOWS, CONTEXT)
    say(f"[lane 0/{len(LANES)}] noise: bf16 against fp32 ...", end=" ")
    say(f"KL {measure_noise(base, tokens).kl_mean:.2g}")
    skipped, start = {}, time.perf_counter()
    for index, lane in enumerate(LANES, 1):
        say(f"[lane {index}/{len(LANES)}{left(start, index)}] {lane} ...", end=" ")
        try:
            row = measure_lane(lane, base, tokens, items)
            say(f"KL {row.kl_mean:.2g}, {row.build_seconds or 0:.0f} s")
        except QCourseError as reason:
            skipped[str(lane)] = str(reason)
            say(f"skipped: {reason}")
        except Exception as error:  # one broken engine must not take the other lanes with it
            skipped[str(lane)] = f"failed: {type(error).__name__}: {str(error)[:300]}"
            say(skipped[str(lane)])
    return skipped


def left(start: float, index: int) -> str:
    """Return how many minutes the lanes from `index` on take if they go on as those before; "" under two."""
    minutes = (time.perf_counter() - start) / 60 / max(1, index - 1) * (len(LANES) - index + 1)
    return f", about {minutes:.0f} min left" if index > 1 and minutes >= 2 else ""


def measure_noise(base: Any, tokens: Any) -> Any:
    """Measure what arithmetic in bf16 alone does: differences below this row mean nothing."""
    from qcourse import measure, models

    exact = models.load(base.folder, dtype="float32")
    return measure.noise_row(
        base, exact, tokens, config=measure.EvaluationConfig(time=False), model_hash=base.hash,
        artefact=base.folder, progress=False, scoreboard=scoreboard_file()
    )  # fmt: skip


def measure_lane(lane: Lane, base: Any, tokens: Any, items: int = ITEMS) -> Any:
    """Load the lane's artefact in its engine and return its measured scoreboard row.

    base: the LoadedModel in bf16, the reference of every divergence.
    Raises QCourseError when the engine is missing or cannot run the artefact here.
    """
    from qcourse import measure, skills
    from qcourse.pipeline import recipe_for

    asked = skills.asked_of(base.name, bool(base.tokenizer.chat_template)) if items else ()
    check_engine(lane)
    reference, path = reference_and_artefact(lane, base)
    with opened(lane, path) as source:
        return measure.evaluate(
            source, reference, tokens, recipe=recipe_for(lane.recipe, base), lane=lane.name, artefact=path,
            tokenizer=base.tokenizer, config=measure.EvaluationConfig(asked, items), model_hash=base.hash,
            progress=False, scoreboard=scoreboard_file()
        )  # fmt: skip


def scoreboard_file() -> Path:
    """Return where rows go."""
    return results_folder() / "scoreboard.jsonl"
