"""Execute one notebook in a fresh kernel, or reuse the executed copy when nothing it depends on changed."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from qcourse.common import (
    atomic_path,
    cache_folder,
    content_hash,
    data_folder,
    repository,
    shared_folder,
    write_json,
)

CELL_SECONDS = 1800  # a cell that hangs, not one that trains on a slow CPU


@dataclass(frozen=True)
class Outcome:
    """What came of one notebook: state is "ran", "reused" or "failed"; seconds are those of the execution."""

    name: str
    state: str
    seconds: float
    date: str
    error: str = ""


def notebooks(only: list[str] | None = None) -> list[Path]:
    """Return the lessons in reading order; `only` keeps those whose names start with one of its texts."""
    found = sorted((repository() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if not only or any(path.name.startswith(text) for text in only)]


def execute(path: Path, folder: Path) -> Outcome:
    """Execute a copy of the notebook into `folder`; reuse what is there if a new run would show the same.

    It would if `notebook_key` and the records of the artefacts that were there afterwards are unchanged.
    """
    state_file = folder / f"{path.stem}.json"
    key = notebook_key(path)
    known = read_state(state_file)
    same = known.get("key") == key and known.get("made", {}).items() <= made().items()
    if same and (folder / path.name).exists() and known["outcome"]["state"] != "failed":
        return Outcome(**{**known["outcome"], "state": "reused"})
    start = time.perf_counter()
    error = run_cells(path, folder / path.name, folder.parent / "home")
    outcome = Outcome(
        path.stem,
        "failed" if error else "ran",
        round(time.perf_counter() - start, 1),
        datetime.now().isoformat(timespec="seconds"),
        error,
    )
    write_json(state_file, {"key": key, "made": made(), "outcome": asdict(outcome)})
    return outcome


def run_cells(source: Path, target: Path, home: Path) -> str:
    """Execute `source` with `home` as the learner's folder into `target`; return "" or the error."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(source, as_version=4)
    target.parent.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(target.parent)}},
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    error = ""
    try:
        client.execute(env={**os.environ, "QCOURSE_HOME": str(home)})
    except CellExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}".splitlines()[0]
    except (CellTimeoutError, DeadKernelError) as failure:
        error = f"{type(failure).__name__}: {failure}".splitlines()[0]
    with atomic_path(target) as temporary:
        nbformat.write(notebook, temporary)
    return error


def notebook_key(path: Path) -> str:
    """Return the hash of what an execution depends on: cells, package, data, model, device, libraries.

    Runs of libraries that only `make course` makes belong to it by their names, which are hashes.
    """
    from qcourse.models import resolve

    package, data = Path(__file__).resolve().parents[1], data_folder()
    sources = (file for file in package.rglob("*") if "__pycache__" not in file.parts)
    tables = (file for file in data.rglob("*") if not (file.parent / "config.json").exists())
    libraries = sorted(f"{found.name} {found.version}" for found in metadata.distributions())
    runs = sorted(file.name for file in (cache_folder() / "library").glob("*.json"))
    parts = [cell_sources(path), hash_of(sources, package), hash_of(tables, data), content_hash(resolve()),
             os.environ.get("QCOURSE_DEVICE", ""), *libraries, *runs]  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def made() -> dict[str, str]:
    """Return the hash of every artefact's record that is there now, by its place."""
    root = shared_folder() / "artefacts"
    records = [*root.rglob("*recipe.json"), *root.rglob("training.json")]
    return {str(file.relative_to(root)): hash_of([file], root) for file in records}


def cell_sources(path: Path) -> str:
    """Return the cells of a notebook without outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return json.dumps([[cell["cell_type"], cell["source"]] for cell in cells])


def hash_of(files: Iterable[Path], root: Path) -> str:
    """Return the hash of the names and the content of the files among `files`, in name order."""
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict:
    """Return what an earlier run noted, or an empty dict."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
