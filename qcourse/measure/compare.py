"""One pass over the tokens: each predicted token's loss, its KL divergence, whether the top choice agrees."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qcourse.common import QCourseError
from qcourse.measure.in_memory import as_source
from qcourse.measure.sources import BATCH_TOKENS, chunk_rows, logit_chunks
from qcourse.measure.tokens import EvaluationSet, as_evaluation_set


@dataclass(frozen=True)
class Comparison:
    """Per predicted token, float32 [n_windows, context - 1]: losses in nats, KL in nats, agreement as 0 or 1.

    The three that need a reference are None without one.
    """

    evaluation: EvaluationSet
    nll: Tensor
    reference_nll: Tensor | None = None
    kl: Tensor | None = None
    agree: Tensor | None = None


@torch.inference_mode()
def compare(
    source: Any, tokens: EvaluationSet | Tensor, reference: Any = None, progress: bool = False
) -> Comparison:
    """Run the source, and the reference beside it on the same tokens; logits are never held whole.

    source, reference: models or logit sources. Raises QCourseError if they differ in vocabulary.
    """
    evaluation = as_evaluation_set(tokens)
    sources = [as_source(item) for item in (source, reference) if item is not None]
    rows = chunk_rows(sources[-1])
    parts: list[list[Tensor]] = []
    for batch in batches(evaluation.tokens, progress):
        targets = batch[:, 1:].flatten().split(rows)
        streams = [logit_chunks(item, batch, rows) for item in sources]
        parts += [measures(*chunk) for chunk in zip(targets, *streams, strict=True)]
    columns = [torch.cat(column).view(len(evaluation.tokens), -1) for column in zip(*parts, strict=True)]
    return Comparison(evaluation, *columns)


def batches(tokens: Tensor, progress: bool) -> Iterator[Tensor]:
    """Yield groups of whole windows with about BATCH_TOKENS tokens, with a progress bar if asked."""
    from tqdm.auto import tqdm

    groups = tokens.split(max(1, BATCH_TOKENS // tokens.shape[1]))
    yield from tqdm(groups, desc="evaluating", disable=not progress, leave=False)


def measures(targets: Tensor, logits: Tensor, reference: Tensor | None = None) -> list[Tensor]:
    """Return [nll] of one chunk, or [nll, reference nll, KL, agreement], each float32 [rows] on the CPU.

    targets: int64 [rows]; logits, reference: float32 [rows, V].
    """
    if reference is None:
        return [functional.cross_entropy(logits, targets.to(logits.device), reduction="none").cpu()]
    if logits.shape[1] != reference.shape[1]:
        raise QCourseError(
            f"the two models have vocabularies of {logits.shape[1]} and {reference.shape[1]} tokens; "
            "KL divergence needs the same one, so compare quantizations of one model"
        )
    target = targets.to(reference.device)[:, None]
    reference, logits = log_softmax(reference), log_softmax(logits.to(reference.device))
    return [
        -logits.gather(1, target).squeeze(1).cpu(),
        -reference.gather(1, target).squeeze(1).cpu(),
        kl_divergence(reference, logits).cpu(),
        (logits.argmax(1) == reference.argmax(1)).float().cpu(),
    ]


def log_softmax(logits: Tensor) -> Tensor:
    """Return log-probabilities float32 [rows, V]; log-probabilities stay as they are, -inf becomes -1e4."""
    return torch.log_softmax(logits.float(), -1).clamp_(min=-1e4)


def kl_divergence(reference: Tensor, candidate: Tensor) -> Tensor:
    """Return KL(reference || candidate) in nats, float32 [rows], from log-probabilities [rows, V].

    Source: Kullback and Leibler 1951: the mean, under the reference, of the difference of log-probabilities.
    """
    return torch.linalg.vecdot(reference.exp(), reference - candidate)


def per_window(values: Tensor, scored: Tensor) -> Tensor:
    """Return the mean of each row's scored entries, [n_windows], of values [n_windows, positions]."""
    return (values * scored).sum(1) / scored.sum(1)
