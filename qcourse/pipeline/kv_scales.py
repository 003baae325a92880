"""The scales of an FP8 KV cache as part of an artefact: `qcourse quantize --kv-cache-dtype fp8`."""

from pathlib import Path
from typing import Any

from qcourse.common import QCourseError


def check(kv_cache_dtype: str | None, form: str, stream: bool) -> None:
    """Raise QCourseError for a KV cache whose scales the artefact cannot hold."""
    if kv_cache_dtype is None:
        return
    if kv_cache_dtype != "fp8":
        raise QCourseError(f"scales are stored for a KV cache in fp8, not in {kv_cache_dtype!r}")
    if form not in ("compressed-tensors", "merged"):
        raise QCourseError(
            f"{form} files hold no scales of a KV cache; use --format compressed-tensors, or merged"
        )
    if stream:
        raise QCourseError("scales of a KV cache are calibrated on the whole model: leave --stream out")


def add_calibrated(artefact: Path, model: Any, tokens: Any) -> Path:
    """Add to an artefact the scales that `model` needs on the calibration tokens; return its path."""
    from qcourse.calibrate import kv_ranges, tokens_hash
    from qcourse.export import add_kv_scales

    return add_kv_scales(artefact, ranges=kv_ranges(model, tokens), calibration_hash=tokens_hash(tokens))
