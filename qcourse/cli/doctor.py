"""qcourse doctor: what this machine can run."""

import sys
from typing import Annotated

import typer

from qcourse.cli.options import show


def command(json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False) -> None:
    """Say what this machine can run, which lessons, and the command that mends each lack."""
    from qcourse.doctor.examination import examine

    found = examine()
    show(found.to_dict(), json, str(found))
    if not found.usable:
        sys.exit(1)
