"""One way of scoring for all: weights put into the plain model in float32, compared with the unquantized."""

from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.measure import EvaluationSet, HFSource
from qcourse.measure.remembered import Remembered

LARGEST_MEMORY = 2**31  # bytes of the reference's logits kept, so that it runs once and not once a row


class Scorer:
    """Scores dense weights of one model on one evaluation set."""

    def __init__(self, base: Any, evaluation: EvaluationSet) -> None:
        """base: the unquantized LoadedModel in float32; it stays as it is."""
        import copy

        self.reference, self.evaluation = Remembered(HFSource(base.model), LARGEST_MEMORY), evaluation
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
