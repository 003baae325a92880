"""Divergence from the reference: mean and 99th percentile of KL, and how often the top choice agrees."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcourse.measure.compare import Comparison, compare, kl_divergence, log_softmax, per_window
from qcourse.measure.statistics import bootstrap, percentile
from qcourse.measure.tokens import EvaluationSet

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Divergence:
    """KL(reference || model) in nats and agreement of the top choice (0 or 1).

    kl, agree: float32 [n_windows, positions];
    scored: bool of the same shape, the positions that the figures below count.
    """

    kl: Tensor
    agree: Tensor
    scored: Tensor

    @property
    def kl_mean(self) -> float:
        """Mean KL over the scored positions."""
        return self.kl[self.scored].double().mean().item()

    @property
    def kl_p99(self) -> float:
        """99th percentile of KL over the scored positions."""
        values = self.kl[self.scored]
        return float(np.quantile(values.numpy(), 0.99, method="inverted_cdf"))

    @property
    def top1_agreement(self) -> float:
        """Share of positions where both models rank the same token first."""
        return self.agree[self.scored].double().mean().item()

    @property
    def kl_per_sequence(self) -> Tensor:
        """Mean KL of each window, float32 [n_windows]: what a paired bootstrap compares."""
        return per_window(self.kl, self.scored)

    @property
    def intervals(self) -> dict[str, list[float]]:
        """95% intervals by a bootstrap over windows: kl_mean, kl_p99, top1_agreement; {} for one window."""
        if len(self.kl) < 2:
            return {}
        estimates = {
            "kl_mean": bootstrap(self.kl_per_sequence.numpy()),
            "kl_p99": percentile(self.kl[self.scored].numpy(), self.scored.nonzero()[:, 0].numpy()),
            "top1_agreement": bootstrap(per_window(self.agree, self.scored).numpy()),
        }
        return {name: [estimate.low, estimate.high] for name, estimate in estimates.items()}

    def __str__(self) -> str:
        return (
            f"KL mean {self.kl_mean:.3g}, p99 {self.kl_p99:.3g}, top-1 agreement {self.top1_agreement:.2%} "
            f"on {int(self.scored.sum()):,} tokens"
        )


def divergence(reference: Any, model: Any, tokens: EvaluationSet | Tensor | None = None) -> Divergence:
    """Compare two logit tensors float32 [n_windows, positions, V], or two models on the same tokens.

    Models (or logit sources) are compared at the positions that predict a token of the window;
    tensors at all of theirs. Log-probabilities serve as logits. Temporaries stay at a chunk of rows.
    Raises QCourseError if the vocabularies differ.
    """
    if tokens is not None:
        return divergence_of(compare(model, tokens, reference))
    rows = [
        chunk_divergence(*pair)
        for pair in zip(chunks(reference), chunks(model), strict=True)
    ]  # fmt: skip
    kl, agree = (torch.cat(column).view(reference.shape[:-1]) for column in zip(*rows, strict=True))
    return Divergence(kl, agree, torch.ones_like(kl, dtype=torch.bool))


def chunks(logits: Tensor) -> tuple[Tensor, ...]:
    """Return views [<= CHUNK_ROWS, V] of logits [..., V]."""
    return logits.reshape(-1, logits.shape[-1]).split(CHUNK_ROWS)


def chunk_divergence(reference: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return KL and agreement of one chunk, float32 [rows] each."""
    first, second = log_softmax(reference), log_softmax(logits)
    return kl_divergence(first, second), (first.argmax(1) == second.argmax(1)).float()


def divergence_of(comparison: Comparison) -> Divergence:
    """Return the divergence of a comparison that had a reference."""
    assert comparison.kl is not None and comparison.agree is not None, "the comparison had a reference"
    return Divergence(comparison.kl, comparison.agree, comparison.evaluation.scored)
