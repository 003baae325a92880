"""Every lane of the course, end to end: artefact, its real engine, one row of the scoreboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, results_folder
from qcourse.lanes.lane import LANES, Lane
from qcourse.lanes.next_server import Ahead, Ready, opened, prepare

ITEMS = 50
WINDOWS, CONTEXT = 8, 256


def measure_all(say: Callable[..., None], items: int = ITEMS) -> dict[str, str]:
    """Measure every lane into build/scoreboard.jsonl, a line each; return the skipped ones with reasons.

    While a lane is measured, the server of the next one starts. A lane that fails is reported and the next
    one goes on: the report names it with its error.
    """
    from qcourse import measure, models

    base = models.load()
    tokens = measure.evaluation_tokens(base.tokenizer, WINDOWS, CONTEXT)
    say(f"[lane 0/{len(LANES)}] noise: bf16 against fp32 ...", end=" ")
    say(f"KL {measure_noise(base, tokens).kl_mean:.2g}")
    skipped = {}
    with Ahead(base) as ahead:
        for index, lane in enumerate(LANES, 1):
            say(f"[lane {index}/{len(LANES)}] {lane} ...", end=" ")
            try:
                ready = ahead.take(lane, *LANES[index : index + 1])
                row = measure_lane(lane, base, tokens, items, ready.result(), ahead.wait)
                say(f"KL {row.kl_mean:.2g}, {row.build_seconds or 0:.0f} s")
            except QCourseError as reason:
                skipped[str(lane)] = str(reason)
                say(f"skipped: {reason}")
            except Exception as error:  # one broken engine must not take the other lanes with it
                skipped[str(lane)] = f"failed: {type(error).__name__}: {str(error)[:300]}"
                say(skipped[str(lane)])
    return skipped


def measure_noise(base: Any, tokens: Any) -> Any:
    """Measure what arithmetic in bf16 alone does: differences below this row mean nothing."""
    from qcourse import measure, models

    exact = models.load(base.folder, dtype="float32")
    return measure.noise_row(
        base,
        exact,
        tokens,
        config=measure.EvaluationConfig(time=False),
        model_hash=base.hash,
        artefact=base.folder,
        progress=False,
        scoreboard=scoreboard_file(),
    )


def measure_lane(
    lane: Lane,
    base: Any,
    tokens: Any,
    items: int = ITEMS,
    ready: Ready | None = None,
    before_timing: Callable[[], object] | None = None,
) -> Any:
    """Load the lane's artefact in its engine and return its measured scoreboard row.

    base: the LoadedModel in bf16, the reference of every divergence; ready: default prepared now.
    Raises QCourseError when the engine is missing or cannot run the artefact here.
    """
    from qcourse import measure, recipe, skills

    ready = ready or prepare(lane, base)
    with opened(lane, ready) as source:
        return measure.evaluate(
            source,
            ready.reference,
            tokens,
            recipe=recipe.named(lane.recipe),
            lane=lane.name,
            artefact=ready.path,
            config=measure.EvaluationConfig(skills.applicable(base.name), items),
            model_hash=base.hash,
            progress=False,
            scoreboard=scoreboard_file(),
            before_timing=before_timing,
        )


def scoreboard_file() -> Path:
    """Return where rows go."""
    return results_folder() / "scoreboard.jsonl"
