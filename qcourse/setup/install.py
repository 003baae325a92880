"""One step of a set-up: pip fills an environment that need not have pip, and a stamp remembers it."""

import json
import subprocess
import sys
import time
import venv
from pathlib import Path

from qcourse.common.files import write_json
from qcourse.common.places import repository
from qcourse.setup.environments import Environment, Step
from qcourse.setup.locks import lock_hash

PIP = ("--disable-pip-version-check", "--no-input", "install", "--quiet", "--prefer-binary")
HERE = Environment("main", sys.prefix, "the Python that runs this script", 0.7, 2.3)


class SetupError(Exception):
    """A set-up that cannot go on: what, the limit, the fix, in one sentence."""


def create(env: Environment) -> None:
    """Make the virtual environment, without ensurepip, unless it exists."""
    if env is not HERE and not env.python.exists():
        venv.EnvBuilder(with_pip=False, symlinks=True).create(repository() / env.folder)


def start(env: Environment, step: Step) -> tuple | None:
    """Start one step with this Python's pip, its output in build/setup/."""
    log = repository() / "build" / "setup" / f"{env.name}-{step.name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"  {env.folder}: {step.name} ...", flush=True)
    if not step.arguments:
        return None
    pip = (sys.executable, "-m", "pip", "--python", str(interpreter(env)), *PIP, *step.arguments)
    with log.open("w") as stream:
        process = subprocess.Popen(pip, stdout=stream, stderr=subprocess.STDOUT, cwd=repository())
    return env, step, process, log, time.monotonic()


def finish(env: Environment, step: Step, process: subprocess.Popen, log: Path, started: float) -> None:
    """Wait for a step and stamp it; a failed optional one is named and left for the next run."""
    code = process.wait()
    seconds = time.monotonic() - started
    if code == 0:
        stamp = {"lock": lock_hash(env.lock), "done": done(env) | {step.name: round(seconds)}}
        write_json(env.stamp, stamp)
        print(f"  {env.folder}: {step.name} done in {seconds:.0f} s", flush=True)
        return
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
    if not step.without:
        raise SetupError(
            f"{step.name} of {env.folder} failed; {log} has the whole output, which ends:\n{tail}"
        )
    print(
        f"  {env.folder}: {step.name} failed, so {step.without} is left out; see {log}:\n{tail}", flush=True
    )


def interpreter(env: Environment) -> Path:
    """Return the interpreter that an environment's packages are installed for."""
    return Path(sys.executable) if env is HERE else env.python


def done(env: Environment) -> dict[str, int]:
    """Return the finished steps and their seconds, if they are of this lock; {} otherwise."""
    try:
        stamp = json.loads(env.stamp.read_text())
    except (OSError, ValueError):
        return {}
    return stamp["done"] if stamp["lock"] == lock_hash(env.lock) and interpreter(env).exists() else {}
