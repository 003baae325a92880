"""Quantization-aware training block by block, as EfficientQAT does it: weights and scales learn together.

Each decoder layer in turn, computing on its rounded weights and on what the rounded layers before it give, is
trained to return what the original layer returns on the original path. One layer is in training at a time,
so that the memory is that of a layer. Source: Chen et al. 2024 (arXiv 2407.11062), section 3.2, "Block-AP".
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm.auto import tqdm

from qcourse.calibrate import CalibrationStep, walk
from qcourse.common import QCourseError
from qcourse.finetune.cpu import autocast
from qcourse.finetune.learned_grid import LearnedGrid
from qcourse.finetune.loop import schedule
from qcourse.finetune.qat import check_trainable
from qcourse.models import decoder_layers, products
from qcourse.numerics.affine import quantize_affine
from qcourse.numerics.types import QuantizedWeight
from qcourse.quantize.checks import check_tokens
from qcourse.recipe import Recipe


def block_qat(
    model: nn.Module,
    tokens: Tensor,
    bits: int = 2,
    group_size: int = 64,
    symmetric: bool = False,
    *,
    steps: int = 100,
    batch_size: int = 4,
    weight_rate: float = 1e-3,
    scale_rate: float = 1e-3,
    progress: bool = True,
) -> dict[str, QuantizedWeight]:
    """Train every decoder layer under rounding, in place; return what is stored, by linear name.

    tokens: int64 [n_sequences, seq_len]; steps, batch_size: updates of a layer, sequences of each.
    weight_rate, scale_rate: AdamW's learning rates as shares of the mean size of weights and of scales.
    The result goes to qcourse.export.save like that of any method.
    Raises QCourseError as `check_trainable` does, and for tokens that are none or not the model's.
    """
    check_trainable(model, bits, group_size, symmetric)
    if not tokens.numel():
        raise QCourseError("block QAT needs calibration tokens and got none; make them by calibrate.batches")
    check_tokens(model, Recipe("rtn", bits=bits, group_size=group_size), tokens)
    stored = {}
    for step in tqdm(
        walk(model, tokens, with_target=True),
        total=len(decoder_layers(model)),
        disable=not progress,
        desc="block QAT",
        unit="layer",
    ):
        dtype, targets = next(step.layer.parameters()).dtype, outputs(step, step.target)
        prepare_layer(step, bits, group_size, symmetric)
        train_layer(step, targets, steps, batch_size, weight_rate, scale_rate)
        for name, layer in finish_layer(step, dtype).items():
            stored[f"model.layers.{step.index}.{name}"] = layer
        step.go_on_with(outputs(step, step.hidden), targets)
    return stored


@torch.no_grad()
def outputs(step: CalibrationStep, hidden: list[Tensor]) -> list[Tensor]:
    """Return what the layer, as it is now, gives for each batch of hidden states."""
    pairs = zip(hidden, step.arguments, strict=True)
    results = [step.layer(batch, **arguments) for batch, arguments in pairs]
    return [result[0] if isinstance(result, tuple) else result for result in results]


def prepare_layer(step: CalibrationStep, bits: int, group_size: int, symmetric: bool) -> None:
    """Let a layer compute with rounded float32 weights; those and their scales become trainable."""
    products.widen(step.layer).requires_grad_(False)  # where there is no autocast
    for linear in step.linears().values():
        linear.weight = nn.Parameter(linear.weight.detach().float())
        start = quantize_affine(linear.weight.detach(), bits, group_size, symmetric, search=True)
        parametrize.register_parametrization(linear, "weight", LearnedGrid(start))


def train_layer(
    step: CalibrationStep, targets: list[Tensor], steps: int, batch_size: int, weight_rate: float,
    scale_rate: float,
) -> None:  # fmt: skip
    """Lower the mean squared distance of the layer's outputs to `targets`, a list like step.hidden."""
    weights = [linear.parametrizations.weight.original for linear in step.linears().values()]
    scales = [linear.parametrizations.weight[0].scale for linear in step.linears().values()]
    groups = [
        {"params": [tensor], "rate": rate * float(tensor.detach().abs().mean())}
        for tensors, rate in ((weights, weight_rate), (scales, scale_rate))
        for tensor in tensors
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    parts = [part for index in range(len(targets)) for part in cut(step, targets, index, batch_size)]
    device, dtype = targets[0].device.type, targets[0].dtype
    for count in range(steps):
        hidden, arguments, target = parts[count % len(parts)]
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * schedule(count, steps)
        with autocast(device, dtype):
            output = step.layer(hidden, **arguments)
        output = output[0] if isinstance(output, tuple) else output
        optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(output.float(), target.float()).backward()
        optimizer.step()


def cut(step: CalibrationStep, targets: list[Tensor], index: int, batch_size: int) -> list[tuple]:
    """Return one calibration batch in parts of `batch_size` sequences: (hidden, arguments, target)."""
    hidden, count = step.hidden[index], step.hidden[index].shape[0]
    return [
        (hidden[rows], sliced(step.arguments[index], rows, count), targets[index][rows])
        for rows in (slice(start, start + batch_size) for start in range(0, count, batch_size))
    ]


def sliced(value: Any, rows: slice, count: int) -> Any:
    """Return the rows of every tensor in `value` that has one row a sequence; the rest as it is."""
    if isinstance(value, dict):
        return {key: sliced(item, rows, count) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(sliced(item, rows, count) for item in value)
    per_sequence = isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == count
    return value[rows] if per_sequence else value


@torch.no_grad()
def finish_layer(step: CalibrationStep, dtype: torch.dtype) -> dict[str, QuantizedWeight]:
    """Replace latent weights by what their codes stand for, in `dtype`; return codes and scales by name."""
    stored = {}
    for name, linear in step.linears().items():
        grid = linear.parametrizations.weight[0]
        stored[name] = grid.stored(linear.parametrizations.weight.original)
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
        linear.weight = nn.Parameter(stored[name].dequantize().to(dtype), requires_grad=False)
    return stored
