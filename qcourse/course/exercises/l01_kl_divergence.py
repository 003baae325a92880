"""Exercise 01.kl_divergence: how far a model's predictions moved from those of another."""

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (logits of the original, logits of the other), each [positions, vocabulary]."""
    draw = torch.Generator().manual_seed(11)
    found = []
    for positions, words in ((1, 3), (5, 16), (12, 40)):
        logits = 2 * torch.randn(positions, words, generator=draw)
        found.append((logits, logits + torch.randn(positions, words, generator=draw)))
    return found


def divergence(
    original: Tensor, other: Tensor, bits: bool = False, total: bool = False, mean: bool = False
) -> float:
    """Sum p * log(p / q) over the vocabulary, then average over positions, in float64."""
    p, q = original.double().softmax(-1), other.double().softmax(-1)
    each = (p * (p / q).log()).sum(-1)
    value = each.sum() if total else each.mean() / (p.shape[-1] if mean else 1)
    return float(value / torch.tensor(2.0).log() if bits else value)


def of_logits(original: Tensor, other: Tensor) -> float:
    """Logits are no log-probabilities: take log_softmax of both before you subtract."""
    return float((original.softmax(-1) * (original - other)).sum(-1).mean())


def cross_entropy(original: Tensor, other: Tensor) -> float:
    """That is the cross entropy: it is not 0 for equal models. Subtract log q from log p."""
    return float(-(original.softmax(-1) * other.log_softmax(-1)).sum(-1).mean())


def direction(original: Tensor, other: Tensor) -> float:
    """The direction: average over what the original model predicts, KL(original || other). KL is not
    symmetric.
    """
    return divergence(other, original)


def in_bits(original: Tensor, other: Tensor) -> float:
    """That is in bits: use the natural logarithm, for nats."""
    return divergence(original, other, bits=True)


def sum_over_positions(original: Tensor, other: Tensor) -> float:
    """Average over the positions; you summed them."""
    return divergence(original, other, total=True)


def mean_over_vocabulary(original: Tensor, other: Tensor) -> float:
    """Sum over the vocabulary: p already weighs the tokens. The mean is taken over positions only."""
    return divergence(original, other, mean=True)


SLIPS = (
    *slips("The logarithms are right; the weights are the probabilities of the original.",
           weights_of_the_other=lambda original, other: -divergence(other, original)),
    *slips("exp of a logit is no probability: take exp of the log_softmax, or softmax.",
           exponentials_of_logits=lambda original, other: float((original.exp() * (original.log_softmax(-1)
               - other.log_softmax(-1))).sum(-1).mean())),
    *slips("Weigh each logarithm by the probability that the original gives the token.",
           no_weights=lambda original, other: float((original.log_softmax(-1)
               - other.log_softmax(-1)).sum(-1).mean())),
    *slips("Weigh each logarithm by the probability that the original gives the token, and sum.",
           no_weights_mean=lambda original, other: float((original.log_softmax(-1)
               - other.log_softmax(-1)).mean())),
    *slips("The weights are probabilities, exp of the log_softmax, not their logarithms.",
           weights_are_logarithms=lambda original, other: float((original.log_softmax(-1)
               * (original.log_softmax(-1) - other.log_softmax(-1))).sum(-1).mean())),
    *slips("Each position has a distribution of its own: the softmax runs over the last dimension.",
           axis_of_positions=lambda original, other: float(torch.nn.functional.kl_div(other.log_softmax(0),
               original.softmax(0), reduction='sum')) / len(original)),
    *slips("Each position has a distribution of its own: softmax and sum run over the last dimension.",
           axis_of_positions_mean_over_words=lambda original,
               other: float(torch.nn.functional.kl_div(other.log_softmax(0), original.softmax(0),
                   reduction='sum')) / original.shape[1]),
    *slips("Losses and gains of probability count with their signs: no abs.",
           magnitudes=lambda original, other: float((original.softmax(-1) * (original.log_softmax(-1)
               - other.log_softmax(-1)).abs()).sum(-1).mean())),
    *slips("The logarithms are not squared in this formula.",
           squares=lambda original, other: float((original.softmax(-1) * (original.log_softmax(-1)
               - other.log_softmax(-1)) ** 2).sum(-1).mean())),
    *slips("That is a distance of probabilities: KL takes the difference of their logarithms.",
           differences_of_probabilities=lambda original,
               other: float((original.softmax(-1) - other.softmax(-1)).abs().sum(-1).mean())),
    *slips("KL takes the difference of the logarithms of the probabilities, not of the probabilities.",
           weighted_differences=lambda original, other: float((original.softmax(-1) * (original.softmax(-1)
               - other.softmax(-1))).sum(-1).mean())),
    *slips("KL is not symmetric, and one direction is asked.",
           both_directions=lambda original, other: (divergence(original, other) + divergence(other,
               original)) / 2),
)  # fmt: skip

EXERCISE = Exercise(
    cases, divergence,
    (direction, in_bits, sum_over_positions, mean_over_vocabulary, of_logits, cross_entropy, *SLIPS),
    praise="0 where nothing moved, never below 0: it sees every change, also of tokens that did not come.",
    tolerance=1e-4
)  # fmt: skip
