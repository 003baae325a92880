"""Exercise 01.perplexity: from logits and tokens to one number."""

import math

import torch
from torch import Tensor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (logits [tokens, vocabulary], token ids [tokens]): a fair guess, then random ones."""
    draw = torch.Generator().manual_seed(1)
    found: list[tuple] = [(torch.zeros(4, 8), torch.tensor([1, 5, 2, 7]))]
    for length, words in ((6, 11), (40, 32)):
        ids = torch.randint(words, (length,), generator=draw)
        found.append((3 * torch.randn(length, words, generator=draw), ids))
    return found


def reference(logits: Tensor, ids: Tensor) -> float:
    """Score token t with the logits of position t - 1, in Python floats."""
    surprise = []
    for position in range(1, len(ids)):
        row = logits[position - 1].tolist()
        top = max(row)
        log_total = top + math.log(sum(math.exp(value - top) for value in row))
        surprise.append(log_total - row[int(ids[position])])
    return math.exp(sum(surprise) / len(surprise))


def negative_log(logits: Tensor, ids: Tensor) -> Tensor:
    """Return -log p of each id under the logits beside it."""
    return torch.nn.functional.cross_entropy(logits.double(), ids, reduction="none")


def not_shifted(logits: Tensor, ids: Tensor) -> float:
    """The logits at position t predict token t + 1: compare logits[:-1] with ids[1:]."""
    return float(negative_log(logits, ids).mean().exp())


def reversed_shift(logits: Tensor, ids: Tensor) -> float:
    """You let a token predict the one before it: the logits at position t predict token t + 1."""
    return float(negative_log(logits[1:], ids[:-1]).mean().exp())


def loss_only(logits: Tensor, ids: Tensor) -> float:
    """That is the mean negative log-likelihood; perplexity is its exponential."""
    return float(negative_log(logits[:-1], ids[1:]).mean())


def in_bits(logits: Tensor, ids: Tensor) -> float:
    """The loss is in nats (natural logarithm), so take e to it, not 2."""
    return float(2 ** negative_log(logits[:-1], ids[1:]).mean())


def mean_of_perplexities(logits: Tensor, ids: Tensor) -> float:
    """Average the logarithms first, exponentiate once at the end: a geometric mean."""
    return float(negative_log(logits[:-1], ids[1:]).exp().mean())


def divided_by_all(logits: Tensor, ids: Tensor) -> float:
    """n tokens hold n - 1 predictions: the first one has nothing before it."""
    return float((negative_log(logits[:-1], ids[1:]).sum() / len(ids)).exp())


SLIPS = (
    *slips("A perplexity is at least 1: log-probabilities are negative, so a minus sign is missing.",
           no_minus=lambda logits, ids: 1 / reference(logits, ids)),
    *slips("Average the logarithms over the predictions; a sum grows with the text.",
           summed=lambda logits, ids: reference(logits, ids) ** (len(ids) - 1)),
    *slips("A model chooses among the words of the vocabulary: take the softmax over the last dimension.",
           axis_of_tokens=lambda logits, ids: float((-logits[:-1].log_softmax(0)[torch.arange(len(ids)
               - 1), ids[1:]]).mean().exp())),
    *slips("Logits are not log-probabilities: take their log_softmax.",
           no_softmax=lambda logits, ids: float((-logits[torch.arange(len(ids) - 1), ids[1:]].mean()).exp())),
    *slips("Those are probabilities: their logarithms are averaged.",
           no_logarithm=lambda logits, ids: float((-(-negative_log(logits[:-1],
               ids[1:])).exp().mean()).exp())),
    *slips("cross_entropy takes the softmax itself: give it the logits.",
           softmax_twice=lambda logits, ids: reference(logits.softmax(-1), ids)),
    *slips("logits[:, ids] picks every id at every position: index rows and columns together.",
           all_ids_of_every_row=lambda logits, ids: float((-logits[:-1].log_softmax(-1)[:,
               ids[1:]].mean()).exp())),
    *slips("That averages over all words: pick the log-probability of the token that came.",
           whole_vocabulary=lambda logits, ids: float((-logits[:-1].log_softmax(-1).mean()).exp())),
    *slips("That is how unsure the model was, whatever came: pick the token that came.",
           entropy=lambda logits, ids: float((-(logits[:-1].softmax(-1)
               * logits[:-1].log_softmax(-1)).sum(-1).mean()).exp())),
    *slips("Average the logarithms, not the probabilities.",
           mean_probability=lambda logits, ids: float(1 / (-negative_log(logits[:-1],
               ids[1:])).exp().mean())),
    *slips("The logits at position t predict token t + 1: drop the first id, not the last.",
           not_shifted_last_dropped=lambda logits, ids: float(negative_log(logits[:-1],
               ids[:-1]).mean().exp())),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (not_shifted, reversed_shift, loss_only, in_bits, mean_of_perplexities, divided_by_all, *SLIPS),
    praise="A uniform guess over 8 words has perplexity 8: read it as the number of equally likely next "
    "tokens.", tolerance=0.0001
)  # fmt: skip
