"""Seconds of repeated runs, and one table row from them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SLOW = 100.0  # seconds; a peer slower than this is timed once
REPEATS = 5


@dataclass
class Timing:
    """The seconds of each run of one thing, wall clock, and what the last run returned."""

    seconds: list[float]
    result: Any = None

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Fastest to slowest, as text."""
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g} ({len(self.seconds)})"


def timed(
    prepare: Callable[[], Any], run: Callable[[Any], Any], repeats: int = REPEATS, full: bool = True
) -> Timing:
    """Time run(prepare()), the preparation apart; once only if that takes longer than SLOW and not full."""
    timing = Timing([])
    while len(timing.seconds) < repeats:
        given = prepare()
        start = time.perf_counter()
        timing.result = run(given)
        timing.seconds.append(time.perf_counter() - start)
        if timing.seconds[0] > SLOW and not full:
            break
    return timing


def row(what: str, figure: float, bar: float, at_least: bool, **details: Any) -> dict[str, Any]:
    """Return one line: the figure, its bar, whether it is met, and what else is known."""
    met = figure >= bar if at_least else figure <= bar
    sign = "at least" if at_least else "at most"
    return {
        "what": what, "figure": figure, "bar": f"{sign} {bar:.3g}", "met": "yes" if met else "no"
    } | details  # fmt: skip
