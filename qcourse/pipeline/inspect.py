"""An artefact looked at before it is shipped: recipe, tensors that can be read, size, engines, hash."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError, content_hash, record_path
from qcourse.common.checkpoint_files import checkpoint_files
from qcourse.common.gguf_files import gguf_files


@dataclass(frozen=True)
class Artefact:
    """What was found: recipe name, format, bytes, content hash, and (engine, "yes" or "untested") pairs."""

    path: Path
    recipe: str
    format: str
    bytes: int
    hash: str
    engines: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return the lines that `ship` prints first."""
        loads = (
            ", ".join(f"{engine} ({how})" for engine, how in self.engines)
            or "none in the compatibility table"
        )
        return (
            f"{self.path}: {self.recipe} as {self.format}, {self.bytes / 1e6:.1f} MB\n"
            f"  content   {self.hash}\n  engines   {loads}"
        )


def check(path: Path) -> Artefact:
    """Return the Artefact; QCourseError if files are missing, damaged, or not what the recipe says."""
    from qcourse.recipe import compatibility
    from qcourse.recipe.record import read_record

    if not path.exists():
        raise QCourseError(
            f"{path} does not exist; qcourse quantize MODEL --output {shlex.quote(str(path))} makes one"
        )
    path = artefact_of(path)
    record = read_record(path)
    if record.recipe is None:
        raise QCourseError(
            f"{path} has no recipe in {record_path(path).name}; write it with qcourse quantize"
        )
    check_files(path)
    check_content(path, record.content)
    rows = compatibility(record.recipe, record.format)
    engines = {row["engine"]: row["loads"] for row in rows if row["loads"] != "no"}
    return Artefact(
        path, record.name, record.format, total_bytes(path), content_hash(path), tuple(engines.items())
    )


def artefact_of(path: Path) -> Path:
    """Return the GGUF file with a record that a folder without its own holds, if it is one; else the path."""
    if not path.is_dir() or record_path(path).exists():
        return path
    inside = [file for file in path.glob("*.gguf") if record_path(file).exists()]
    return inside[0] if len(inside) == 1 else path


def check_content(path: Path, recorded: str) -> None:
    """Raise QCourseError unless the artefact's bytes are those that its record was written for."""
    if not recorded:
        raise QCourseError(
            f"the record of {path} holds no hash of its content; write the artefact again to ship it"
        )
    if (found := content_hash(path)) != recorded:
        raise QCourseError(
            f"{path} is not what its record describes: its content hashes to {found[:16]}, the record says "
            f"{recorded[:16]}; a file was changed after it was written, so write the artefact again"
        )


def check_files(path: Path) -> None:
    """Raise QCourseError unless the checkpoint's tensors can be read."""
    if path.is_dir():
        from qcourse.models import check_checkpoint

        check_checkpoint(path)
    else:
        from qcourse.export import gguf

        gguf.tensor_types(path)


def total_bytes(path: Path) -> int:
    """Return the bytes of the weights' files."""
    files = gguf_files(path) if path.is_file() else [*checkpoint_files(path), *path.glob("*.gguf")]
    return sum(file.stat().st_size for file in files)
