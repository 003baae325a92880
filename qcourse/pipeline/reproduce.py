"""An artefact made again from its record: the same bytes here, nearly the same codes on another machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError, content_hash
from qcourse.common.provenance import arithmetic, versions
from qcourse.pipeline.build import build
from qcourse.pipeline.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor

SAME_CODES = 0.999  # share of codes, of a GGUF of bytes, that must agree where it was made elsewhere


def reproduced(path: Path, record: Any, baseline: str) -> str:
    """Quantize the baseline again by the record and return what was found.

    Raises QCourseError if it cannot be remade, if versions and machine are the record's and the bytes differ,
    or if they are others and less than SAME_CODES of the codes (of a GGUF: of the bytes) agree.
    """
    text = record.calibration
    if record.made_by or record.kv_cache or (text and text.name != Calibration().name):
        raise QCourseError("it was made by another program, with KV scales, or on a text that is not here: "
                           "set `reproduce: false` and remake it where that is")  # fmt: skip
    again = Calibration(sequences=text.sequences, length=text.seq_len, seed=text.seed) if text else None
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = build(baseline, record.recipe, record.format, Path(folder) / path.name, calibration=again,
                     progress=False, revision=record.source.revision, allow_fallback=True)  # fmt: skip
        if (found := content_hash(made)) == record.content:
            return f"quantized again, the same bytes: {record.content[:16]}"
        said = f"quantized again it hashes to {found[:16]}, not {record.content[:16]}"
        if (versions(), arithmetic()) == (record.versions, record.machine):
            raise QCourseError(f"{said}, with the same versions on the same kind of machine")
        share = in_common(codes_of(path), codes_of(made))
    what = "the bytes of its tensors" if path.suffix == ".gguf" else "the codes"
    elsewhere = f"{said}: other versions or another machine made it, and {share:.3%} of {what} agree"
    if share < SAME_CODES:
        raise QCourseError(f"{elsewhere}, where {SAME_CODES:.1%} must")
    return elsewhere


def codes_of(path: Path) -> dict[Any, Tensor]:
    """Return the codes of a folder by layer; of a GGUF the bytes of each tensor, by name and type.

    A byte of a block holds one to four codes, or a part of a scale.
    """
    if path.suffix != ".gguf":
        from qcourse.export import read_layers

        return {name: layer.codes for name, layer in read_layers(path).items()}
    import torch

    from qcourse.common.gguf_files import open_gguf

    return {(tensor.name, tensor.tensor_type): torch.from_numpy(tensor.data.reshape(-1).view("uint8"))
            for tensor in open_gguf(path).tensors}  # fmt: skip


def in_common(first: dict[Any, Tensor], second: dict[Any, Tensor]) -> float:
    """Return the share of equal codes; 0 where layers, types or shapes differ."""
    shapes = [{name: codes.shape for name, codes in each.items()} for each in (first, second)]
    if shapes[0] != shapes[1] or not first:
        return 0.0
    same = sum(int((first[name] == second[name]).sum()) for name in first)
    return same / sum(codes.numel() for codes in first.values())
