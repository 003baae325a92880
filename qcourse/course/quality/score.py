"""One way of scoring for all: weights put into the plain model in float32, compared with the unquantized."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.measure import EvaluationSet, HFSource

REMEMBERED = 2**31  # bytes of the reference's logits worth keeping, so that it runs once and not once a row


class Remembered(HFSource):
    """A reference model that keeps the logits of the tokens it has seen, while they fit in 2 GiB."""

    def __init__(self, model: Any, evaluation: EvaluationSet) -> None:
        super().__init__(model)
        self.seen: dict[int, list[Tensor]] = {}
        self.keeps = 4 * evaluation.tokens.numel() * self.vocabulary <= REMEMBERED

    def chunks(self, tokens: Tensor, rows: int) -> Iterator[Tensor]:
        """Yield float32 [<= rows, V], from memory where these tokens came before."""
        key = hash(tokens.numpy().tobytes())
        if key not in self.seen:
            found = super().chunks(tokens, rows)
            if not self.keeps:
                yield from found
                return
            self.seen[key] = [chunk.clone() for chunk in found]
        yield from self.seen[key]


class Scorer:
    """Scores dense weights of one model on one evaluation set."""

    def __init__(self, base: Any, evaluation: EvaluationSet) -> None:
        """base: the unquantized LoadedModel in float32; it stays as it is."""
        import copy

        self.reference, self.evaluation = Remembered(base.model, evaluation), evaluation
        self.model = copy.deepcopy(base.model)
        self.original = base.model.state_dict()

    def score(self, weights: dict[str, Tensor]) -> dict[str, list[float]]:
        """Return mean KL (nats) and mean loss of each window for the model with these weights put in.

        weights: by the names of the dense model, any float dtype; biases of zeros, which some libraries
        add, do not count. Raises QCourseError if none is a linear of a decoder layer, or a name is not
        the model's.
        """
        from qcourse.measure.compare import compare

        weights = {name: value for name, value in weights.items() if name in self.original or value.any()}
        unknown = sorted(set(weights) - set(self.original))
        if unknown or not any(name.endswith("proj.weight") for name in weights):
            raise QCourseError(
                f"these weights are not this model's: {', '.join(unknown[:3]) or 'no linears'}"
            )
        with torch.no_grad():
            self.model.load_state_dict(self.original)
            self.model.load_state_dict(weights, strict=False)
        found = compare(self.model, self.evaluation, self.reference)
        return {"kl": found.kl.double().mean(1).tolist(), "nll": found.nll.double().mean(1).tolist()}
