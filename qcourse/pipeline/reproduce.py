"""An artefact made again from its record: the same bytes here, nearly the same codes on another machine."""

import tempfile
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, content_hash
from qcourse.common.provenance import arithmetic, versions
from qcourse.pipeline.build import build
from qcourse.pipeline.calibration import Calibration

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
        gguf = path.suffix == ".gguf"
        share = bytes_in_common(path, made) if gguf else codes_in_common(path, made)
    what = "the bytes of its tensors" if gguf else "the codes"
    elsewhere = f"{said}: other versions or another machine made it, and {share:.3%} of {what} agree"
    if share < SAME_CODES:
        raise QCourseError(f"{elsewhere}, where {SAME_CODES:.1%} must")
    return elsewhere


def codes_in_common(one: Path, other: Path) -> float:
    """Return the share of equal codes in two folders of the same layers; 0 where layers or shapes differ."""
    from qcourse.export import read_layers

    first, second = read_layers(one), read_layers(other)
    shapes = [{name: layer.codes.shape for name, layer in layers.items()} for layers in (first, second)]
    if shapes[0] != shapes[1] or not first:
        return 0.0
    same = sum(int((first[name].codes == second[name].codes).sum()) for name in first)
    return same / sum(layer.codes.numel() for layer in first.values())


def bytes_in_common(one: Path, other: Path) -> float:
    """Return the share of equal bytes in the tensors of two GGUF files; 0 where names, types or sizes differ.

    Nearly the share of equal codes: a byte of a block holds one to four of them, or a part of a scale.
    """
    from qcourse.common.gguf_files import open_gguf

    first, second = ({tensor.name: tensor for tensor in open_gguf(path).tensors} for path in (one, other))
    kinds = [{name: (tensor.tensor_type, tensor.n_bytes) for name, tensor in tensors.items()}
             for tensors in (first, second)]  # fmt: skip
    if kinds[0] != kinds[1] or not first:
        return 0.0
    raw = ([tensors[name].data.reshape(-1).view("uint8") for tensors in (first, second)] for name in first)
    return sum(int((a == b).sum()) for a, b in raw) / sum(tensor.n_bytes for tensor in first.values())
