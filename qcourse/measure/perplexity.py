"""Perplexity: one function, which knows and prints everything that decides its value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from qcourse.measure.compare import Comparison, compare, per_window
from qcourse.measure.statistics import Estimate, resample
from qcourse.measure.tokens import EvaluationSet


@dataclass(frozen=True)
class Perplexity:
    """exp(mean loss) over the scored tokens; nll: each prediction's loss in nats, [windows, context - 1]."""

    evaluation: EvaluationSet
    nll: Tensor

    @property
    def nll_per_sequence(self) -> Tensor:
        """Mean loss of each window's scored tokens, float32 [n_windows]."""
        return per_window(self.nll, self.evaluation.scored)

    @property
    def value(self) -> float:
        """The perplexity."""
        return float(np.exp(self.nll[self.evaluation.scored].double().mean().item()))

    @property
    def interval(self) -> Estimate | None:
        """The 95% interval by a bootstrap over windows; None for a single window."""
        if len(self.nll) < 2:
            return None
        scored = self.evaluation.scored
        loss, count = (self.nll * scored).sum(1).numpy(), scored.sum(1).numpy()
        return resample(len(loss), lambda drawn: np.exp(loss[drawn].sum(-1) / count[drawn].sum(-1)))

    def __str__(self) -> str:
        spread = self.interval
        around = f" [{spread.low:.3f}, {spread.high:.3f}]" if spread else ""
        return f"perplexity {self.value:.3f}{around}: {self.evaluation}"


def perplexity(
    model: Any, tokens: EvaluationSet | Tensor, verbose: bool = False, progress: bool = False
) -> Perplexity:
    """Measure a model or logit source on an EvaluationSet (or token ids int64 [n_windows, context]).

    verbose prints the result with tokenizer, context, stride, split and number of tokens.
    Each window is read on its own: its first token is context only.
    Raises QCourseError for tokens of another shape.
    """
    result = perplexity_of(compare(model, tokens, progress=progress))
    if verbose:
        print(result)
    return result


def perplexity_of(comparison: Comparison) -> Perplexity:
    """Return the perplexity of a comparison's source."""
    return Perplexity(comparison.evaluation, comparison.nll)
