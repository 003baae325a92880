"""Perplexity by the yardstick beside the plain fp32 loop of most tutorials, on the same tokens."""

from collections.abc import Iterator
from typing import Any

from qcourse.bench.speed.clock import row, timed
from qcourse.bench.speed.subjects import Subject

BAR = 3.0
NOISE = 0.01  # relative difference of perplexities that bf16 arithmetic alone makes, at most


def rows(subject: Subject) -> Iterator[dict]:
    """Yield the one row; void when the two perplexities differ by more than bf16 noise."""
    from qcourse import measure

    model, exact = subject.fresh(), subject.fresh("float32")
    mine = timed(lambda: None, lambda _: measure.perplexity(model, subject.evaluation).value)
    plain = timed(lambda: None, lambda _: plain_perplexity(exact, subject.evaluation))
    found = row(f"evaluation, {subject.name}: times faster than plain fp32",
                plain.median / mine.median, BAR, True, ours=mine.median,
                spread=mine.spread, peer=plain.median, peer_spread=plain.spread,
                perplexity=mine.result, peer_perplexity=plain.result)  # fmt: skip
    if abs(mine.result / plain.result - 1) > NOISE:
        found["met"] = "void: perplexity"
    yield found


def plain_perplexity(model: Any, tokens: Any) -> float:
    """Return perplexity by one window at a time and the model's own loss."""
    import torch

    with torch.no_grad():
        losses = [float(model(input_ids=window[None], labels=window[None]).loss) for window in tokens]
    return float(torch.tensor(losses).mean().exp())
