"""`make course`: measure every lane, execute every lesson, write the report."""

import logging
import os
import sys
import time
from pathlib import Path

from qcourse.common import results_folder
from qcourse.common.quiet import quiet
from qcourse.course.execute import Outcome, execute, notebooks


def run(only: list[str] | None = None, lanes: bool | None = None, items: int | None = None) -> list[Outcome]:
    """Fill build/: scoreboard.jsonl, executed notebooks, report.html; return what came of each notebook.

    only: beginnings of notebook names; then lanes are left alone unless asked for.
    items: questions a skill in each lane.
    What an earlier run left in build/ and still fits is reused.
    """
    quiet()
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is a line each; bars fill logs
    build = results_folder()
    start = time.perf_counter()
    skipped = run_lanes(items) if (lanes if lanes is not None else not only) else {}
    outcomes = run_notebooks(notebooks(only), build / "notebooks")
    from qcourse.course.report import write_report

    report = write_report(build, outcomes, skipped)
    say(f"{time.perf_counter() - start:.0f} s in all; {report}")
    say("next: make lab opens JupyterLab on your own copies")
    return outcomes


def run_notebooks(paths: list[Path], folder: Path) -> list[Outcome]:
    """Execute the notebooks in order, one line each."""
    outcomes = []
    for index, path in enumerate(paths, 1):
        say(f"[{index}/{len(paths)}] {path.stem} ...", end=" ")
        outcome = execute(path, folder)
        outcomes.append(outcome)
        say(f"{outcome.state}, {outcome.seconds:.0f} s {outcome.error}".rstrip())
    return outcomes


def run_lanes(items: int | None = None) -> dict[str, str]:
    """Measure every lane and library run that this machine can; return the skipped ones with reasons."""
    from qcourse.lanes import make_all, measure_all

    skipped = {**(measure_all(say) if items is None else measure_all(say, items)), **make_all(say)}
    logging.getLogger().setLevel(logging.WARNING)  # some libraries turn everyone's notices on
    return skipped


def say(text: str, end: str = "\n") -> None:
    """Print at once, so that progress shows also through a pipe."""
    print(text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(any(outcome.state == "failed" for outcome in run(sys.argv[1:] or None)))
