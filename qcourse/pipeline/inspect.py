"""An artefact looked at before it is shipped: recipe, tensors that can be read, size, engines, hash."""

from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError, content_hash, record_path
from qcourse.common.checkpoint_files import checkpoint_files


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
        raise QCourseError(f"{path} does not exist; qcourse quantize MODEL --output {path} makes one")
    record = read_record(path)
    if record.recipe is None:
        raise QCourseError(
            f"{path} has no recipe in {record_path(path).name}; write it with qcourse quantize"
        )
    check_files(path)
    rows = compatibility(record.recipe, record.format)
    engines = {row["engine"]: row["loads"] for row in rows if row["loads"] != "no"}
    return Artefact(
        path, record.name, record.format, total_bytes(path), content_hash(path), tuple(engines.items())
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
    files = [path] if path.is_file() else [*checkpoint_files(path), *path.glob("*.gguf")]
    return sum(file.stat().st_size for file in files)
