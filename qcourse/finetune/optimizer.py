"""AdamW by name, with 32-bit or 8-bit states, and what its states take."""

import torch
from torch import nn

from qcourse.common import QCourseError
from qcourse.finetune.adam8bit import AdamW8bit, Moment


def make_optimizer(parameters: list[nn.Parameter], name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW with 32-bit states, or with 8-bit states: bitsandbytes' or ours."""
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    if name == "adamw8bit-own":
        return AdamW8bit(parameters, lr=learning_rate)
    if name != "adamw8bit":
        raise QCourseError(f"unknown optimizer {name!r}; known: adamw, adamw8bit, adamw8bit-own")
    try:
        import bitsandbytes
    except ImportError as error:
        raise QCourseError(
            "adamw8bit needs bitsandbytes, which is absent; use optimizer='adamw8bit-own'") from error
    return bitsandbytes.optim.AdamW8bit(parameters, lr=learning_rate, weight_decay=0.0)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the tensors that the optimizer keeps for each parameter."""
    tensors = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in tensors if isinstance(value, Moment)
               or (isinstance(value, torch.Tensor) and value.numel() > 1))
