"""Shapes for which a library chooses a CPU kernel that then fails: they get its plain kernel instead.

Found by trial: GPTQModel 7.5 and bitsandbytes 0.50 in torch 2.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

INT4_GROUPS = (32, 64, 128, 256)  # of torch's int4 product on a CPU, GPTQModel's choice for 4 bits
REPACKED_ROWS = 32  # that bitsandbytes interleaves on a CPU with AVX512-BF16
PLAIN = {"gptq": "gptq_torch", "awq": "torch_awq"}


def kernel_of(quantization: dict[str, Any], device: str) -> str | None:
    """Return GPTQModel's name of the kernel to ask for, or None where its own choice works.

    quantization: the quantization_config of a checkpoint.
    """
    chosen = quantization.get("bits") == 4 and quantization.get("group_size") not in INT4_GROUPS
    return PLAIN.get(quantization.get("quant_method")) if chosen and device == "cpu" else None


def leave_unpacked(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit layers whose rows or blocks its CPU kernel cannot tell apart."""
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None or not getattr(module, "support_avx512bf16_for_cpu", False):
            continue
        rows, columns = state.shape
        if rows % REPACKED_ROWS or columns % state.blocksize:
            module.support_avx512bf16_for_cpu = False
