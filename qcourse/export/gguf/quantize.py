"""llama.cpp's own quantizer, in a process of its own: a crash or an abort there cannot take Python down."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError, atomic_path, record_path
from qcourse.export.folder import check_room
from qcourse.gguf_reader.names import EXPERT, name_map
from qcourse.gguf_reader.read import _open, field, layer_count, tensor_types
from qcourse.recipe import Recipe
from qcourse.recipe.fit import gguf_block
from qcourse.recipe.record import new_record, write_record

TYPES = {
    "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19,
    "IQ2_XS": 20, "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26,
    "IQ3_M": 27, "IQ2_S": 28, "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32,
}  # fmt: skip
"""Name of a llama.cpp file type -> its number (llama.h, enum llama_ftype)."""

NEED_IMATRIX = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "IQ3_XXS", "IQ3_XS")
SCRIPT = Path(__file__).with_name("llama_quantizer.py")


def types_that_fit(columns: int) -> list[str]:
    """Return the file types whose blocks divide a row of this many columns."""
    return [kind for kind in TYPES if columns % gguf_block(kind) == 0]


def quantize(
    source: Path | str,
    target: Path | str,
    kind: str,
    imatrix: dict[str, Tensor] | None = None,
    threads: int = 0,
    recipe: Recipe | None = None,
    manifest: dict[str, Any] | None = None,
    allow_fallback: bool = False,
) -> Path:
    """Quantize a 16-bit GGUF file with llama.cpp's quantizer and return the path of the new one.

    kind: a name of TYPES such as "Q4_K_M". imatrix: linear (transformers' name)
    -> mean squared input of each column, float [in]. threads: 0 for all. With a
    recipe or a manifest, a record is written beside the file, as TARGET.recipe.json.
    allow_fallback: where the type's blocks do not divide a row, llama.cpp takes one of blocks of 32
    (Q5_0 for Q4_K, Q8_0 for Q6_K...); `tensor_types` of the file says which.
    Raises QCourseError for an unknown type, rows that its blocks do not divide otherwise, a type that needs
    an imatrix, and whatever llama.cpp refuses; nothing is left half-written.
    """
    source, target = Path(source), Path(target)
    check_kind(source, kind, imatrix, allow_fallback)
    check_room(target, source.stat().st_size)
    with tempfile.TemporaryDirectory() as folder, atomic_path(target) as temporary:
        arguments = [str(source), str(temporary), str(TYPES[kind]), str(threads)]
        if imatrix:
            arguments.append(str(save_imatrix(imatrix, source, Path(folder) / "imatrix.safetensors")))
        run_quantizer(arguments, f"{target.name} as {kind}")
        record_path(target).unlink(missing_ok=True)  # it tells of the file that is replaced now
    if recipe is not None or manifest is not None:
        write_record(target, new_record(recipe, "gguf", manifest or {}))
    return target


def run_quantizer(arguments: list[str], what: str) -> None:
    """Run llama.cpp's quantizer in its own process; QCourseError with its own reason if it fails."""
    command = [sys.executable, "-P", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        telling = [line for line in lines if "rror" in line or "failed" in line] or lines or ["no message"]
        raise QCourseError(
            f"llama.cpp could not write {what} (exit {done.returncode}): {telling[-1]}; {advice(telling[-1])}"
        )


def advice(reason: str) -> str:
    """Return what to try after llama.cpp's last words."""
    if "data validation failed" in reason:  # what llama.cpp says of a float16 that is infinite or NaN
        return "a weight is too large for this type's float16 (limit 65504): write BF16, which holds it"
    return "is llama-cpp-python installed and the disk free?"


def check_kind(
    source: Path, kind: str, imatrix: dict[str, Tensor] | None, allow_fallback: bool = False
) -> None:
    """Raise QCourseError if a file cannot be quantized to this type as it stands."""
    if kind not in TYPES:
        raise QCourseError(f"llama.cpp has no file type {kind!r}; known are {', '.join(TYPES)}")
    if kind in NEED_IMATRIX and not imatrix:
        raise QCourseError(f"{kind} needs an importance matrix; calibrate first, or take IQ3_S or larger")
    for name, (stored, shape) in tensor_types(source).items():
        if stored not in ("F32", "F16", "BF16"):
            raise QCourseError(f"{source} is quantized already ({name} is {stored}); start from 16 bits")
        if len(shape) > 1 and shape[-1] % gguf_block(kind) and not allow_fallback:
            raise QCourseError(
                f"{kind} takes {gguf_block(kind)} columns together and {name} has {shape[-1]}; "
                f"types that work for this model: {', '.join(_fitting(source))}"
            )


def _fitting(source: Path) -> list[str]:
    widths = {shape[-1] for _, shape in tensor_types(source).values() if len(shape) > 1}
    return [kind for kind in TYPES if all(width % gguf_block(kind) == 0 for width in widths)]


def save_imatrix(imatrix: dict[str, Tensor], source: Path, path: Path) -> Path:
    """Write an importance matrix under the GGUF names of a file's tensors; return the path.

    Experts without one get ones: every column matters as much.
    Raises QCourseError for a vector whose length is not the tensor's columns.
    """
    from safetensors.torch import save_file

    reader = _open(source)
    arch = field(reader, "general.architecture")
    names, shapes = name_map(arch, layer_count(reader, arch)), tensor_types(source)
    found: dict[str, Tensor] = {}
    for name, importance in imatrix.items():
        number = EXPERT.search(name)
        whole = f"{EXPERT.sub('', name).removesuffix('.weight')}.weight"
        stored = names.get_name(whole, try_suffixes=(".weight",))
        if stored in shapes:
            *several, _, columns = shapes[stored][1]
            if importance.numel() != columns:
                raise QCourseError(
                    f"the importance of {name} has {importance.numel()} values for "
                    f"{columns} columns; calibrate on this model"
                )
            rows = found.setdefault(stored, torch.ones(*several, columns).reshape(-1, columns))
            rows[int(number[1]) if number else 0] = importance.detach().float().reshape(-1).cpu()
    if not found:
        raise QCourseError(f"the importance matrix names no linear of {source}; calibrate on this model")
    save_file({name: rows.reshape(-1) for name, rows in found.items()}, str(path))
    return path
