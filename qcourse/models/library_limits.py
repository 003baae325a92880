"""Where the libraries that load quantized checkpoints fail or compute wrongly, and what is done instead.

Found by trial: GPTQModel 7.5, bitsandbytes 0.50 and compressed-tensors 0.19 with torch 2.13.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError
from qcourse.common.mixtures import is_mixture, misreads_experts
from qcourse.common.tensor_header import Entry, read_header

if TYPE_CHECKING:
    import torch
    from torch import nn

INT4_GROUPS, INT4_ROWS = (32, 64, 128, 256), 16  # of torch's int4 product on a CPU, GPTQModel's first choice
REPACKED_ROWS = 32  # that bitsandbytes interleaves on a CPU with AVX512-BF16
PLAIN = {"gptq": "gptq_torch", "awq": "torch_awq"}
ZERO = {"gptq": lambda bits: 2 ** (bits - 1) - 1, "gptq_v2": lambda bits: 2 ** (bits - 1)}  # as stored
BF16 = "torch.bfloat16"
FP4 = ("nvfp4-pack-quantized", "mxfp4-pack-quantized")


def settle_quantization(
    config: Any, folder: Path, files: list[Path], dtype: torch.dtype, device: str
) -> None:
    """Make a quantized checkpoint's transformers config one that its library loads rightly here.

    Raises QCourseError for what no setting mends.
    """
    check_method(folder, config.quantization_config)
    check_dtype(config.quantization_config, dtype)
    check_experts(folder, config.quantization_config, config.model_type, dtype)
    check_blocks(folder, config.quantization_config, files)
    settle_gptq_version(config, files)
    choose_kernel(config, files, device)


def check_method(folder: Path, quantization: dict[str, Any]) -> None:
    """Raise QCourseError for a method that transformers does not know: it would load codes as weights."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    method = quantization.get("quant_method")
    if method is not None and method not in KNOWN and method != "bitsandbytes":
        raise QCourseError(f"{folder} is quantized as {method!r}, which transformers would load as if "
                           "it were not; take the unquantized checkpoint")  # fmt: skip


def check_blocks(folder: Path, quantization: dict[str, Any], files: list[Path]) -> None:
    """Raise QCourseError for scales of FP8 blocks that fit no weight: transformers stretches them."""
    block = quantization.get("weight_block_size") if quantization.get("quant_method") == "fp8" else None
    entries = {name: entry for path in files if block for name, entry in read_header(path).items()}
    for name, entry in entries.items():
        scale = entries.get(f"{name}_scale_inv")
        wanted = [-(-size // length) for size, length in zip(entry.shape, block, strict=False)]
        if scale is not None and list(scale.shape) != wanted:
            raise QCourseError(
                f"{folder} holds {name}_scale_inv as {list(scale.shape)} and blocks of {block} ask for "
                f"{wanted}; download it again"
            )


def choose_kernel(config: Any, files: list[Path], device: str) -> None:
    """Ask GPTQModel, in a transformers config, for its plain kernel where its own choice would fail.

    files: the safetensors of the checkpoint, whose scales are as wide as its linears have rows.
    """
    entries = [item for path in files for item in read_header(path).items()]
    outputs = {entry.shape[-1] for name, entry in entries if name.endswith(".scales")}
    if kernel := kernel_of(config.quantization_config, outputs, device):
        config.quantization_config["backend"] = kernel


def kernel_of(quantization: dict[str, Any], outputs: set[int], device: str) -> str | None:
    """Return the name of GPTQModel's plain kernel where its own choice would fail, else None.

    quantization: the quantization_config of a checkpoint; outputs: how many rows its linears have.
    """
    fails = quantization.get("group_size") not in INT4_GROUPS or any(rows % INT4_ROWS for rows in outputs)
    if device != "cpu" or quantization.get("bits") != 4 or not fails:
        return None
    return PLAIN.get(quantization.get("quant_method"))


def settle_gptq_version(config: Any, files: list[Path]) -> None:
    """Correct, in a transformers config, the version of a symmetric GPTQ file that its zero points belie.

    Symmetric zero points are 2**(bits - 1) in version 2 and one less in version 1; the library takes the
    label's word. Files whose layers have other widths (`dynamic`) are left alone.
    """
    settings = config.quantization_config
    bits = settings.get("bits")
    if settings.get("quant_method") != "gptq" or settings.get("dynamic") or not settings.get("sym", True):
        return
    said = settings.get("checkpoint_format") or settings.get("format") or "gptq"
    zeros = [(path, entry) for path in files for name, entry in read_header(path).items()
             if bits and name.endswith(".qzeros")]  # fmt: skip
    shown = {next((version for version, zero in ZERO.items() if all_codes_are(*each, bits, zero(bits))), None)
             for each in zeros}  # fmt: skip
    if said in ZERO and len(shown) == 1 and not shown & {None, said}:
        settings["checkpoint_format"] = shown.pop()
        print(f"{files[0].parent} says checkpoint_format {said!r}, but its zero points are stored as "
              f"{settings['checkpoint_format']!r} does; it is loaded so", file=sys.stderr)  # fmt: skip


def all_codes_are(path: Path, entry: Entry, bits: int, code: int) -> bool:
    """Return whether every code of a packed tensor is `code`; 32 codes fill `bits` little-endian words."""
    words = sum(code << bits * index for index in range(32)).to_bytes(4 * bits, "little")
    with path.open("rb") as stream:
        stream.seek(entry.start)
        stored = stream.read(entry.end - entry.start)
    return bool(stored) and stored == words * (len(stored) // len(words))


def check_dtype(quantization: dict[str, Any], dtype: torch.dtype) -> None:
    """Raise QCourseError for an FP4 file in another dtype than the one its weights are unpacked to."""
    if quantization.get("format") in FP4 and str(dtype) != BF16:
        raise QCourseError(
            f"compressed-tensors unpacks {quantization['format']} to bfloat16 only, not {dtype}; "
            'load it with dtype="bfloat16"'
        )


def check_experts(
    folder: Path, quantization: dict[str, Any], model_type: str | None, dtype: torch.dtype
) -> None:
    """Raise QCourseError for experts that transformers would not load as they are stored, or in `dtype`."""
    if misreads_experts(model_type, quantization):
        raise QCourseError(
            f"transformers does not load the experts of {folder} as they are stored "
            f"({quantization['quant_method']}); qcourse eval decodes them, vLLM is made to serve them"
        )
    packed = is_mixture(model_type) and quantization.get("format") == "pack-quantized"
    if packed and str(dtype) != BF16:
        raise QCourseError(
            f"transformers unpacks the experts of {folder} to bfloat16 only, not {dtype}; "
            'load it with dtype="bfloat16"'
        )


def settle_4bit_layers(model: nn.Module) -> None:
    """Let bitsandbytes' 4-bit layers on a CPU run as stored where they cannot be repacked.

    Raises QCourseError for rows that this CPU would dequantize wrongly.
    """
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is None or module.weight.device.type != "cpu":
            continue
        rows, columns = state.shape
        if not dequantizes_rightly(columns, state.blocksize):
            raise QCourseError(
                f"bitsandbytes dequantizes rows of {columns} weights wrongly on this CPU, because blocks of "
                f"{state.blocksize} cross from row to row; quantize to a block size that divides {columns}, "
                'write format "merged", or load it on a GPU'
            )
        if rows % REPACKED_ROWS or columns % state.blocksize:
            module.support_avx512bf16_for_cpu = False


@cache
def dequantizes_rightly(columns: int, block_size: int) -> bool:
    """Return whether bitsandbytes on this CPU reads back four rows whose blocks hold one value each.

    Its AVX-512 kernel mistakes the block where one crosses rows of a multiple of 16 columns.
    """
    if columns % block_size == 0:
        return True
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    probe = (torch.arange(4 * columns) // block_size + 1.0).reshape(4, columns)
    codes, state = quantize_4bit(probe, blocksize=block_size, quant_type="nf4")
    return torch.equal(dequantize_4bit(codes, state), probe)
