"""The Typer application and how every failure becomes one sentence on stderr and an exit code."""

import importlib
import os
import sys
from contextlib import nullcontext

import typer

from qcourse.cli.options import Answer
from qcourse.common import QCourseError
from qcourse.common.quiet import only_our_warnings, stdout_to_stderr

COMMANDS = (
    "doctor",
    "run",
    "quantize",
    "evaluate",
    "serve",
    "loadtest",
    "watch",
    "plan",
    "claims",
    "sweep",
    "ship",
    "convert",
    "progress",
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
    """Run one command, print its answer and exit: 0 done, 1 refused, 2 wrong usage, 130 interrupted.

    QCourseError and a full disk print one sentence. Anything else is a bug and keeps its traceback
    under QCOURSE_DEBUG=1; without it the sentence says how to see it. With --json the answer is all
    that reaches stdout, whatever a library prints meanwhile or when the process ends.
    """
    alone = "--json" in (sys.argv if arguments is None else arguments)
    with only_our_warnings(), stdout_to_stderr() if alone else nullcontext():
        text, code = outcome(arguments)
    if text:
        print(text, flush=True)
    if alone and arguments is None:
        os.dup2(2, 1)
    sys.exit(code)


def outcome(arguments: list[str] | None) -> Answer:
    """Return what a command answers, or no text and the exit code of what went wrong."""
    try:
        found = app(arguments, standalone_mode=False, prog_name="qcourse")
        return found if isinstance(found, Answer) else Answer("", found if isinstance(found, int) else 0)
    except typer.Exit as stop:
        return Answer("", stop.exit_code)
    except typer.Abort:
        return Answer("", INTERRUPTED)
    except KeyboardInterrupt:
        return Answer("", fail("interrupted", INTERRUPTED))
    except Exception as error:
        return Answer("", explain(error))


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
