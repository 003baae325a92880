"""GPTAQ: aim at the output of the unquantized model, whose inputs are not those of the quantized one."""

import torch
from torch import Tensor

STRENGTH = 0.5  # KL of pico at 3 bits with 0, 0.25 (GPTQModel), 0.5, 1: 0.227, 0.213, 0.207, 0.207 nats


def drift_feedback(drift: Tensor, R: Tensor, strength: float = STRENGTH) -> Tensor:
    """Return P, strictly upper triangular [in, in]: what the columns after j take over from column j.

    drift: float32 [in, in], mean of (t - x) x^T; R: upper triangular with R R^T = H. Column j
    of the weight times what its input has moved is missing in the output; of that the later columns, read
    through their own inputs x, can make up w_j P[j, j+1:]. strength: the share of it that is done
    (GPTQModel's alpha); later layers make up for the same drift again.
    Source: Li et al. 2025 (arXiv 2504.02692), algorithm 1; GPTQModel 7.5, GPTAQConfig.
    """
    read = torch.linalg.solve_triangular(R.mT, drift, upper=False, left=False).triu(1)  # drift R^-T
    return strength * torch.linalg.solve_triangular(R, read, upper=True, left=False)
