"""Files that appear whole or not at all, and hashes that name their content."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qcourse.common.errors import QCourseError
from qcourse.common.gguf_files import gguf_files

ABOUT_A_MODEL = {"recipe.json", "metrics.json", "subject.json"}


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block ends without an error.

    Where `path` is a link, what it leads to is replaced.
    """
    path = target_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it replaces `path` only when the block ends without error.

    Where `path` is a link, what it leads to is replaced.
    """
    path = target_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def target_of(path: Path | str) -> Path:
    """Return a path, or where it leads if it is a link."""
    return Path(path).resolve() if Path(path).is_symlink() else Path(path)


def replace_folder(made: Path, path: Path) -> None:
    """Move a finished folder to `path`, on the same disk; what stood there is deleted only then."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(made, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def record_path(artefact: Path | str) -> Path:
    """Return where an artefact's record is: recipe.json in its folder, or beside a file FILE.recipe.json."""
    artefact = Path(artefact)
    return artefact / "recipe.json" if artefact.is_dir() else Path(f"{artefact}.recipe.json")


def is_about_a_model(file: Path) -> bool:
    """Say whether a file beside a model tells of it and is no part of it."""
    return file.name in ABOUT_A_MODEL or file.name.endswith(".recipe.json")


def content_hash(path: Path | str) -> str:
    """Return the SHA-256 of a file, of a GGUF's shards, or of a folder's files in name order with names.

    For a model folder only weights, configuration and tokenizer count, so that
    a README or a manifest beside them does not change the model's identity.
    """
    path = Path(path)
    files = (
        gguf_files(path)
        if path.is_file()
        else sorted(
            file
            for file in path.rglob("*")
            if file.suffix in {".safetensors", ".json", ".gguf"} and not is_about_a_model(file)
        )
    )
    digest = hashlib.sha256()
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_text(path: Path | str) -> str:
    """Return a UTF-8 file's content without a byte-order mark; QCourseError if it is missing or no text."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise QCourseError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise QCourseError(f"{path} cannot be read as UTF-8 text; give a plain text file") from error
