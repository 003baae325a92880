"""The Typer application and how every failure becomes one sentence on stderr and an exit code."""

import importlib
import os
import sys

import typer

from qcourse.common import QCourseError

COMMANDS = (
    "doctor",
    "run",
    "quantize",
    "evaluate",
    "serve",
    "loadtest",
    "plan",
    "claims",
    "sweep",
    "ship",
)
USAGE, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    help="LLM quantization by doing it: quantize, measure, serve, plan, and run the course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def register() -> None:
    """Attach every command module's `command` under the module's name (`evaluate` is `eval`)."""
    for module in COMMANDS:
        command = importlib.import_module(f"qcourse.cli.{module}").command
        app.command(name="eval" if module == "evaluate" else module)(command)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 refused, 2 wrong usage, 130 interrupted.

    QCourseError and a full disk print one sentence. Anything else is a bug and keeps its traceback
    under QCOURSE_DEBUG=1; without it the sentence says how to see it.
    """
    try:
        code = app(arguments, standalone_mode=False, prog_name="qcourse")
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.Abort:
        code = INTERRUPTED
    except KeyboardInterrupt:
        code = fail("interrupted", INTERRUPTED)
    except Exception as error:
        code = explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> int:
    """Print the sentence of `error` on stderr and return the exit code."""
    if isinstance(error, QCourseError):
        return fail(str(error), FAILED)
    if hasattr(error, "format_message"):  # click's usage errors
        return fail(f"{error.format_message()} Try --help.", USAGE)
    if os.environ.get("QCOURSE_DEBUG"):
        raise error
    if isinstance(error, OSError):
        return fail(str(error), FAILED)
    kind = type(error).__name__
    return fail(f"unexpected {kind}: {error}; QCOURSE_DEBUG=1 shows where it was raised", FAILED)


def fail(sentence: str, code: int) -> int:
    """Print `error: sentence` as one line on stderr and return `code`."""
    print("error: " + " ".join(sentence.split()), file=sys.stderr)
    return code


register()
