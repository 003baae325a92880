"""What an error of the weight does to the output: the yardstick of AWQ's search and of the manifest."""

from torch import Tensor

BLOCK = 256
ROWS = 512


def output_energy(weight: Tensor, hessian: Tensor) -> Tensor:
    """Return tr(W H W^T), the mean squared output summed over output features: float32, 0-dim.

    weight: float32 [out, in], often a change of a weight; hessian: float32 [in, in], mean over tokens of
    x x^T. It is symmetric: what a block of columns shares with those after it counts twice, so half of the
    products is enough.
    """
    total = weight.new_zeros(())
    for start in range(0, len(hessian), BLOCK):
        stop = start + BLOCK
        columns = slice(start, stop)
        read = weight[:, columns] @ hessian[columns, columns]
        read.addmm_(weight[:, stop:], hessian[stop:, columns], alpha=2)
        total += (read * weight[:, columns]).sum()
    return total


def thin_rows(weight: Tensor) -> Tensor:
    """Return every k-th row [at most 512, in]: enough to rank scales by, and to tell a relative error."""
    return weight[:: max(1, -(-len(weight) // ROWS))]
