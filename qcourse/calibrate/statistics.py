"""What calibration remembers of the inputs of linears that read the same activation."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from qcourse.calibrate.gram import accumulate_gram, accumulate_product, mirror


@dataclass
class InputStatistics:
    """Sums over calibration tokens of one activation x that the linears `names` share.

    names: of the linears, relative to the decoder layer; columns: width of x; gram: whether x x^T is kept;
    magnitudes: whether |x| is (mean and largest), which costs as much as a pass over the activations.
    drift: whether (t - x) x^T is, t the same input in the unquantized model.
    """

    names: list[str]
    columns: int
    gram: bool = True
    magnitudes: bool = True
    drift: bool = False
    device: torch.device = torch.device("cpu")
    n_tokens: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("abs", "square", "max"):
            self.sums[name] = torch.zeros(self.columns, device=self.device)
        for name in ("gram", "drift"):
            if getattr(self, name):
                self.sums[name] = torch.zeros(self.columns, self.columns, device=self.device)

    def add(self, inputs: Tensor, target: Tensor | None = None) -> None:
        """Account for inputs [..., columns] of any floating dtype; target: the unquantized model's."""
        rows = inputs.detach().reshape(-1, self.columns)
        self.n_tokens += rows.shape[0]
        if self.magnitudes:
            magnitude = rows.abs()
            self.sums["abs"] += magnitude.sum(0, dtype=torch.float32)
            self.sums["max"] = torch.maximum(self.sums["max"], magnitude.amax(0).float())
        if self.gram:
            accumulate_gram(self.sums["gram"], rows)
        if self.drift:
            accumulate_product(self.sums["drift"], target.detach().float() - inputs.detach().float(), rows)
        if self.magnitudes and not self.gram:
            self.sums["square"] += rows.float().square().sum(0)

    @cached_property
    def hessian(self) -> Tensor:
        """Mean over tokens of x x^T, float32 [columns, columns] (factor 1; GPTQ's paper writes 2 X X^T).

        It takes the place of the sum in memory, so nothing can be added once it has been asked for.
        """
        return mirror(self.sums.pop("gram")).div_(max(self.n_tokens, 1))

    @property
    def mean_drift(self) -> Tensor:
        """Mean over tokens of (t - x) x^T, t the unquantized model's input: float32 [columns, columns]."""
        return self.sums["drift"] / max(self.n_tokens, 1)

    @property
    def mean_abs(self) -> Tensor:
        """Mean over tokens of |x|, float32 [columns]."""
        return self.sums["abs"] / max(self.n_tokens, 1)

    @property
    def mean_square(self) -> Tensor:
        """Mean over tokens of x**2, float32 [columns]: llama.cpp's importance matrix."""
        return self.hessian.diagonal() if self.gram else self.sums["square"] / max(self.n_tokens, 1)

    @property
    def absmax(self) -> Tensor:
        """Largest |x| over tokens, float32 [columns]."""
        return self.sums["max"]

    def rescale(self, scale: Tensor) -> None:
        """Become the statistics of x / scale, exactly; scale: [columns]."""
        for name in ("abs", "max"):
            self.sums[name] = self.sums[name] / scale
        self.sums["square"] = self.sums["square"] / scale.square()
        if self.gram:
            self.hessian.div_(scale[:, None]).div_(scale[None, :])
