"""qcourse ship: check an artefact and say how to serve it."""

from pathlib import Path
from typing import Annotated

import typer


def command(artefact: Annotated[Path, typer.Argument(help="an artefact folder or a .gguf file")]) -> None:
    """Check an artefact and print the launch command of every server that reads it."""
    from qcourse.models import shape
    from qcourse.pipeline.inspect import check
    from qcourse.plan import commands

    found = check(artefact)
    print(found)
    context = shape(artefact).context if artefact.is_dir() else 4096
    for launch in commands(artefact.resolve(), found.format, context=min(4096, context or 4096)):
        print(f"\n{launch}")
