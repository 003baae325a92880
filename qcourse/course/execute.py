"""Execute one notebook in a fresh kernel, or reuse the executed copy when nothing it depends on changed."""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from qcourse.common import atomic_path, content_hash, repository, write_json

CELL_SECONDS = 600
KERNEL_ENVIRONMENT = ("QCOURSE_MODEL", "QCOURSE_DEVICE", "QCOURSE_CACHE")


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
    """Execute a copy of the notebook into `folder`; reuse what is there if its key is the same.

    The key covers the notebook, the package, the claims and the model, so that
    a reused copy shows what a new run would show.
    """
    state_file = folder / f"{path.stem}.json"
    key = notebook_key(path)
    known = read_state(state_file)
    if known.get("key") == key and (folder / path.name).exists() and known["outcome"]["state"] != "failed":
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
    write_json(state_file, {"key": key, "outcome": asdict(outcome)})
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
    """Return the hash of everything that an execution depends on."""
    from qcourse.models import resolve

    folder = resolve()
    parts = [cell_sources(path), package_hash(), content_hash(folder), os.environ.get("QCOURSE_DEVICE", "")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cell_sources(path: Path) -> str:
    """Return the cells of a notebook without outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return json.dumps([[cell["cell_type"], cell["source"]] for cell in cells])


def package_hash() -> str:
    """Return the hash of the package's source and of the claims."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for file in [*sorted(root.rglob("*.py")), repository() / "data" / "claims.yaml"]:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict:
    """Return what an earlier run noted, or an empty dict."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
