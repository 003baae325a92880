"""What we and every library start from: one folder, one set of calibration tokens, one importance matrix."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """folder: the unquantized model; tokens: calibration, int64 [sequences, length]; bf16: its GGUF."""

    folder: Path
    tokens: Tensor
    bf16: Path

    @cached_property
    def importance(self) -> dict[str, Tensor]:
        """The importance matrix of the unquantized model: mean x**2 of each linear's input columns."""
        from qcourse import models
        from qcourse.calibrate import importance_matrix

        return importance_matrix(models.load(self.folder).model, self.tokens)
