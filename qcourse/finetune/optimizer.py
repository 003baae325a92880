"""AdamW by name, with 32-bit or 8-bit states, and what its states take."""

import torch
from torch import nn

from qcourse.common import QCourseError
from qcourse.finetune.adam8bit import AdamW8bit, Moment

BITSANDBYTES = {"adamw8bit": "AdamW8bit", "adamw8bit-paged": "PagedAdamW8bit"}


def make_optimizer(parameters: list[nn.Parameter], name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW with 32-bit states, or with 8-bit states: bitsandbytes' or ours.

    adamw8bit-paged is bitsandbytes' with states in memory that CUDA moves to the CPU when the GPU's is full.
    Raises QCourseError for another name, without bitsandbytes, and for paging parameters that are not on
    CUDA.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    if name == "adamw8bit-own":
        return AdamW8bit(parameters, lr=learning_rate)
    if name not in BITSANDBYTES:
        known = ", ".join(("adamw", "adamw8bit-own", *BITSANDBYTES))
        raise QCourseError(f"unknown optimizer {name!r}; known: {known}")
    if name == "adamw8bit-paged":
        check_pageable(parameters)
    try:
        import bitsandbytes
    except ImportError as error:
        raise QCourseError(
            f"{name} needs bitsandbytes, which is absent; use optimizer='adamw8bit-own'"
        ) from error
    make = getattr(bitsandbytes.optim, BITSANDBYTES[name])
    return make(parameters, lr=learning_rate, weight_decay=0.0)


def check_pageable(parameters: list[nn.Parameter]) -> None:
    """Raise QCourseError unless all parameters are on CUDA: only its driver pages memory."""
    others = sorted({parameter.device.type for parameter in parameters} - {"cuda"})
    if others:
        raise QCourseError(
            f"adamw8bit-paged pages its states between GPU and CPU, which needs CUDA, and parameters are on "
            f"{', '.join(others)}; use optimizer='adamw8bit', or 'adamw8bit-own' without bitsandbytes"
        )


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of the tensors that the optimizer keeps for each parameter."""
    tensors = (value for state in optimizer.state.values() for value in state.values())
    return sum(
        value.nbytes
        for value in tensors
        if isinstance(value, Moment) or (isinstance(value, torch.Tensor) and value.numel() > 1)
    )
