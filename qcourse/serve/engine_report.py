"""What an engine says of itself in its log, and whether that is what was asked of it."""

import re
from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.serve.logs import said

UNIT_SCALES = "Using KV cache scaling factor 1.0"
KERNEL = re.compile(r"\b(?:Using|Selected) (\w+) for (?!\w+ backend)")
SETTING = r"\b{}='?([\w.-]+)"
GGUF_CACHE = re.compile(r"llama_kv_cache: size =.*K \((\w+)\).*V \((\w+)\)")


@dataclass(frozen=True)
class EngineReport:
    """quantization: vLLM's name of the method, "None" for none; kernels: of the linear layers, in order.

    kv_cache_dtype: as the engine allocated it; unit_scales: an FP8 cache runs with scales of 1.0.
    A part that the log does not tell is "" or empty.
    """

    quantization: str = ""
    kernels: tuple[str, ...] = ()
    kv_cache_dtype: str = ""
    unit_scales: bool = False


def vllm_report(log: Path) -> EngineReport:
    """Return what vLLM reports in its log: the line of its configuration, the kernels, the scales."""
    text = said(log)
    line = next((line for line in text.splitlines() if "engine (v" in line and "config:" in line), "")
    found = {name: re.search(SETTING.format(name), line) for name in ("quantization", "kv_cache_dtype")}
    kernels = tuple(dict.fromkeys(KERNEL.findall(text)))
    values = {name: match[1] if match else "" for name, match in found.items()}
    return EngineReport(**values, kernels=kernels, unit_scales=UNIT_SCALES in text)


def llama_report(log: Path) -> EngineReport:
    """Return the type of the KV cache that llama.cpp allocated, "k/v" where the two differ."""
    match = GGUF_CACHE.search(said(log))
    return EngineReport(kv_cache_dtype="/".join(dict.fromkeys(match.groups())) if match else "")


def check_vllm(report: EngineReport, config: dict, kind: str) -> None:
    """Raise QCourseError where vLLM runs something else than the checkpoint says.

    config: the checkpoint's config.json; kind: its weights as `weight_kind` names them.
    """
    if kind != "plain" and report.quantization == "None":
        raise QCourseError(
            f"the checkpoint holds {kind} weights and vLLM reports no quantization: it reads them as "
            "something else; check quantization_config in config.json"
        )
    emulated = [kernel for kernel in report.kernels if "Emulat" in kernel]
    if emulated:
        raise QCourseError(
            f"vLLM has no kernel for {kind} weights here and computes in 16 bits by {emulated[0]}; "
            "serve on a device with the kernel, or take another lane"
        )
    stored = (config.get("quantization_config") or {}).get("kv_cache_scheme")
    if stored and report.unit_scales:
        raise QCourseError(
            "the checkpoint holds scales of the KV cache and vLLM reports scales of 1.0: it did not "
            "recognise their names; write the artefact again"
        )


def check_kv_cache(engine: str, asked: str, found: str) -> None:
    """Raise QCourseError if the engine took another KV cache than was asked; "" tells nothing."""
    if asked != "auto" and found and asked.split("_")[0] not in found.split("/")[0]:
        raise QCourseError(
            f"{engine} reports a KV cache of {found}, not the asked {asked}; "
            "this build or machine cannot do it, so serve with kv_cache_dtype='auto'"
        )
