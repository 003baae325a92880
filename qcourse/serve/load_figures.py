"""The figures of a load test, from the times of its answers: pure arithmetic, and one plot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qcourse.common import QCourseError

PERCENTILES = (50, 95, 99)
TIMES = ("ttft", "tpot", "itl", "e2e")
KNEE = 0.9  # the knee is the first row with this share of the highest throughput


@dataclass(frozen=True)
class Answer:
    """One streamed answer: seconds from its request to each token that came, and the counted tokens."""

    times: tuple[float, ...]
    output_tokens: int
    prompt_tokens: int

    @property
    def ttft(self) -> float:
        """Seconds to the first token."""
        return self.times[0]

    @property
    def e2e(self) -> float:
        """Seconds to the last token."""
        return self.times[-1]

    @property
    def tpot(self) -> float | None:
        """Seconds per token after the first, None for an answer of one."""
        return (self.e2e - self.ttft) / (self.output_tokens - 1) if self.output_tokens > 1 else None

    def within(self, limits: Mapping[str, float]) -> bool:
        """Return whether none of ttft, tpot and e2e is over its limit."""
        return all((getattr(self, name) or 0) <= limit for name, limit in limits.items())


@dataclass(frozen=True)
class LoadTest:
    """What a run showed; times in seconds, each as mean, p50, p95 and p99; sent = succeeded + failed.

    concurrency: of a closed loop, else None; rate: requests a second of an open loop, else None.
    ttft: to the first token; tpot: per further token of an answer; itl: between two tokens; e2e: to the last.
    goodput: requests a second that kept all limits, None without limits; errors: how often each reason came.
    """

    concurrency: int | None
    rate: float | None
    sent: int
    succeeded: int
    failed: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    ttft: dict[str, float]
    tpot: dict[str, float]
    itl: dict[str, float]
    e2e: dict[str, float]
    output_tokens_per_second: float
    requests_per_second: float
    goodput: float | None
    errors: dict[str, int]

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dict, ready for JSON."""
        return asdict(self)


def summary(found: Sequence[Answer | str], seconds: float, *, concurrency: int | None = None,
            rate: float | None = None, limits: Mapping[str, float] | None = None) -> LoadTest:  # fmt: skip
    """Return the figures of answers and of reasons of failures; QCourseError if no request succeeded."""
    answers = [item for item in found if isinstance(item, Answer)]
    errors = dict(Counter(item for item in found if isinstance(item, str)).most_common())
    if not answers:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in errors.items())
        raise QCourseError(f"all {len(found)} requests failed: {reasons}")
    tokens = sum(item.output_tokens for item in answers)
    kept = sum(item.within(limits) for item in answers) / seconds if limits else None
    return LoadTest(
        concurrency, rate, len(found), len(answers), len(found) - len(answers), seconds,
        sum(item.prompt_tokens for item in answers), tokens,
        spread([item.ttft for item in answers]),
        spread([item.tpot for item in answers if item.tpot is not None]),
        spread([later - sooner for item in answers for sooner, later in pairwise(item.times)]),
        spread([item.e2e for item in answers]), tokens / seconds, len(answers) / seconds, kept, errors,
    )  # fmt: skip


def spread(values: list[float]) -> dict[str, float]:
    """Return mean and percentiles, interpolated linearly; empty for no values."""
    if not values:
        return {}
    cuts = np.percentile(values, PERCENTILES)
    return {"mean": float(np.mean(values))} | {
        f"p{p}": float(c) for p, c in zip(PERCENTILES, cuts, strict=True)
    }


def knee(rows: Sequence[LoadTest]) -> LoadTest:
    """Return the row with the fewest clients that reaches 90% of the highest throughput: more only queue."""
    enough = KNEE * max(row.output_tokens_per_second for row in rows)
    return next(row for row in rows if row.output_tokens_per_second >= enough)


def figure(rows: Sequence[LoadTest]) -> Any:
    """Return a matplotlib figure: throughput and time to first token by load, the knee marked."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = made.subplots(1, 2)
    loads = [row.concurrency or row.rate for row in rows]
    left.plot(loads, [row.output_tokens_per_second for row in rows], marker="o")
    left.axvline(knee(rows).concurrency or knee(rows).rate, linestyle=":", color="gray", label="knee")
    left.set(ylabel="output tokens/s", ylim=(0, None))
    left.legend()
    for name in ("p50", "p95", "p99"):
        right.plot(loads, [1000 * row.ttft[name] for row in rows], marker="o", label=name)
    right.set(ylabel="time to first token, ms", ylim=(0, None))
    right.legend()
    for panel in (left, right):
        panel.set_xlabel("clients" if rows[0].concurrency else "requests/s")
    return made
