"""qcourse run: execute the lessons and write build/."""

from typing import Annotated

import typer


def command(
    only: Annotated[
        list[str] | None, typer.Option(help="beginning of a lesson's name, such as 06; repeatable")
    ] = None,
    items: Annotated[
        int | None, typer.Option(help="questions a skill in each lane, 0 for none", min=0)
    ] = None,
) -> None:
    """Measure every lane, execute copies of the lessons, write the scoreboard and the report to build/."""
    from qcourse.common import QCourseError
    from qcourse.course.execute import notebooks
    from qcourse.course.runner import run

    if only and not notebooks(only):
        raise QCourseError(f"no lesson begins with {' or '.join(only)}; lessons are numbered 00, 01, ...")
    failed = [outcome.name for outcome in run(only, items=items) if outcome.state == "failed"]
    if failed:
        raise QCourseError(f"{', '.join(failed)} failed; the executed copies in build/notebooks show where")
