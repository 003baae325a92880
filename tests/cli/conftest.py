"""A command run in this process: its exit code, what it printed, and what it said on stderr."""

from collections import namedtuple

import pytest

Result = namedtuple("Result", "code out err")


@pytest.fixture
def cli(capsys):
    """Return a function (arguments...) -> Result(code, out, err) that runs one qcourse command."""
    from qcourse.cli import main

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(stop.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def refused(cli):
    """Return a function that runs a command, requires exit code 1 and returns its one sentence."""

    def run(*arguments: object) -> str:
        result = cli(*arguments)
        assert result.code == 1, result
        lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in result.err, result.err
        return lines[0].removeprefix("error: ")

    return run
