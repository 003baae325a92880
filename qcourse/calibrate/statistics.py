"""What calibration remembers of the inputs of linears that read the same activation: sums, then means."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qcourse.calibrate.gram import accumulate_gram, accumulate_product, mirror


@dataclass
class InputStatistics:
    """Means over calibration tokens of one activation x that the linears `names` share.

    names: of the linears, relative to the decoder layer; all tensors float32. mean_abs, mean_square, absmax:
    of |x|, x**2 and the largest |x|, [columns]; zeros where magnitudes were not asked for (mean_square is
    then the Hessian's diagonal). hessian: of x x^T, [columns, columns] (factor 1; GPTQ's paper writes
    2 X X^T); mean_drift: of (t - x) x^T, t the unquantized model's input. None where they were not asked for.
    """

    names: list[str]
    n_tokens: int
    mean_abs: Tensor
    mean_square: Tensor
    absmax: Tensor
    hessian: Tensor | None = None
    mean_drift: Tensor | None = None

    def rescale(self, scale: Tensor) -> None:
        """Become the statistics of x / scale, exactly; scale: [columns]."""
        self.mean_abs, self.absmax = self.mean_abs / scale, self.absmax / scale
        if self.hessian is None:
            self.mean_square = self.mean_square / scale.square()
        else:
            self.hessian.div_(scale[:, None]).div_(scale[None, :])
            self.mean_square = self.hessian.diagonal()


class InputSums:
    """Sums over calibration tokens, batch by batch, of which `finish` makes the means, once.

    names: of the linears; columns: width of x; gram: whether x x^T is summed; magnitudes: whether |x| is (and
    its largest value kept), which costs as much as a pass over the activations; drift: whether (t - x) x^T
    is, t the same input in the unquantized model.
    """

    def __init__(
        self, names: list[str], columns: int, gram: bool = True, magnitudes: bool = True, drift: bool = False,
        device: torch.device | None = None
    ) -> None:  # fmt: skip
        self.names, self.columns, self.magnitudes, self.n_tokens = names, columns, magnitudes, 0
        self.total, self.square, self.largest = torch.zeros(3, columns, device=device)
        self.gram = torch.zeros(columns, columns, device=device) if gram else None
        self.drift = torch.zeros(columns, columns, device=device) if drift else None

    def add(self, inputs: Tensor, target: Tensor | None = None) -> None:
        """Account for inputs [..., columns] of any floating dtype; target: the unquantized model's."""
        rows = inputs.detach().reshape(-1, self.columns)
        if not len(rows):  # an expert that this batch does not reach
            return
        self.n_tokens += rows.shape[0]
        if self.magnitudes:
            magnitude = rows.abs()
            self.total += magnitude.sum(0, dtype=torch.float32)
            self.largest = torch.maximum(self.largest, magnitude.amax(0).float())
        if self.gram is not None:
            accumulate_gram(self.gram, rows)
        elif self.magnitudes:
            self.square += rows.float().square().sum(0)
        if self.drift is not None:
            accumulate_product(self.drift, target.detach().float() - inputs.detach().float(), rows)

    def finish(self) -> InputStatistics:
        """Return the means; the products take the place of their sums in memory, which are then gone."""
        count = max(self.n_tokens, 1)
        hessian = None if self.gram is None else mirror(self.gram).div_(count)
        drift = None if self.drift is None else self.drift.div_(count)
        square = self.square / count if hessian is None else hessian.diagonal()
        found = self.names, self.n_tokens, self.total / count, square, self.largest, hessian, drift
        del self.total, self.square, self.largest, self.gram, self.drift
        return InputStatistics(*found)
