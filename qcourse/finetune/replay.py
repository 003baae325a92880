"""Replay: training on something new while the model is held to what it said about old rows.

Rows of the old skills are mixed into every step (experience replay: Rolnick et al. 2019, arXiv 1811.11682).
What is asked on them is not the text again but the original model's own predictions: at the start that loss
and its gradient are zero, so that it disturbs nothing until the model begins to forget (Li and Hoiem 2016,
arXiv 1606.09282; with replayed rows Buzzega et al. 2020, arXiv 2004.07211).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qcourse.finetune.answers import TokenizedExample, collate


@dataclass
class Replay:
    """Old rows, the model whose predictions on them are to be kept, rows a step, weight of their loss."""

    rows: Sequence[TokenizedExample]
    teacher: nn.Module
    size: int = 6
    weight: float = 1.0

    def loss(self, model: nn.Module, batch: Sequence[TokenizedExample]) -> Tensor:
        """Return the mean KL(teacher || model) in nats over all tokens of the rows (differentiable)."""
        ids, _ = collate(batch)
        ids = ids.to(next(model.parameters()).device)
        real = torch.arange(ids.shape[1]) < torch.tensor([[len(row.ids)] for row in batch])
        with torch.no_grad():
            wanted = log_probabilities(self.teacher, ids)[real]
        found = log_probabilities(model, ids)[real]
        return nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)

    def count(self, row: TokenizedExample) -> int:
        """Return how many tokens of a row the loss is a mean over."""
        return len(row.ids)


def log_probabilities(model: nn.Module, ids: Tensor) -> Tensor:
    """Return log-probabilities float32 [B, T, V]."""
    return model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
