"""Set up the course: bootstrap.py main|serving|peers|extras|smollm2|test|here|colab ... [--dry-run]

Needs Python 3.11 or newer and pip, nothing else; a C++ compiler adds GPTQModel and llama.cpp.
Finished steps are remembered beside the lock's hash: a finished set-up is a no-op, an interrupted
one goes on where it stopped, a changed lock is installed anew.
"""

import argparse
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the checkout, not this folder

from qcourse.common.places import repository  # noqa: E402
from qcourse.setup import environments as spec  # noqa: E402
from qcourse.setup import install  # noqa: E402
from qcourse.setup.environments import ENVIRONMENTS, Environment, Step  # noqa: E402
from qcourse.setup.install import HERE, SetupError, done  # noqa: E402

KNOWN = ENVIRONMENTS | {env.name: env for env in (spec.EXTRAS, spec.SMOLLM2)}


def main() -> None:
    """Parse the targets, say what they cost, and run their steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="+", choices=[*KNOWN, "test", "here", "colab"])
    parser.add_argument("--dry-run", action="store_true", help="print the steps that are left and stop")
    options = parser.parse_args()
    targets = options.targets
    try:
        check_python()
        if "colab" in targets:
            return install_beside_colab(options.dry_run)
        set_up([HERE] if "here" in targets else chosen(targets), options.dry_run)
    except SetupError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on where it stopped")


def chosen(targets: list[str]) -> list[Environment]:
    """Return the environments of the targets, each once; "test" means all but smollm2."""
    return [
        env
        for name, env in KNOWN.items()
        if name in targets or ("test" in targets and env is not spec.SMOLLM2)
    ]


def check_python() -> None:
    """Refuse what cannot work, and prefer a python3.11 on PATH, for which the locks were made."""
    if os.name == "nt":
        raise SetupError(
            "Windows itself is not supported; run this in WSL2 (wsl --install), where it is Linux"
        )
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is what tells people)
        if better := shutil.which("python3.11"):
            os.execv(better, [better, *sys.argv])
        raise SetupError(
            f"Python {sys.version.split()[0]} is too old; install Python 3.11 and run it with that"
        )
    if importlib.util.find_spec("pip") is None:
        raise SetupError("this Python has no pip; install it (Debian, Ubuntu: apt-get install python3-pip)")


def set_up(environments: list[Environment], dry_run: bool) -> None:
    """Run what is left of the steps of each environment; background steps are waited for at the end."""
    work = [(env, [step for step in steps_of(env) if step.name not in done(env)]) for env in environments]
    work = [(env, left) for env, left in work if left]
    if not work:
        return
    announce(work)
    if dry_run:
        return
    background = []
    with one_at_a_time():
        for env, left in work:
            install.create(env)
            for step in left:
                running = install.start(env, step)
                if running and step.background:
                    background.append(running)
                elif running:
                    install.finish(*running)
        for running in background:
            install.finish(*running)


def steps_of(env: Environment) -> list[Step]:
    """Return the steps of an environment; those that need a compiler only where there is one."""
    return [step for step in spec.steps(env.name) if spec.compiler() or not step.without]


def announce(work: list[tuple[Environment, list[Step]]]) -> None:
    """Print what will be installed, the download and the disk it takes, and check the disk."""
    extra = spec.GPU_EXTRA if not spec.is_locked_platform() or spec.has_nvidia() else 0.0
    for env, left in work:
        print(f"{env.folder}: {env.purpose}; left to do: {', '.join(step.name for step in left)}")
    fresh = [env for env, _ in work if not done(env)]
    need = sum(env.disk + extra for env in fresh)
    print(
        f"download about {sum(env.download + extra for env in fresh):.1f} GB, disk about {need:.1f} GB"
        " (torch builds with CUDA inside take 4.5 GB more each)"
    )
    free = shutil.disk_usage(repository()).free / 1e9
    if free < need * 1.1:
        raise SetupError(
            f"{free:.1f} GB of disk are free and {need * 1.1:.1f} are needed; free some and run it again"
        )
    if not spec.compiler() and any(env.name == "main" for env, _ in work):
        print(
            "no C++ compiler: GPTQModel and llama.cpp are left out and everything else works; "
            "install g++ (Debian, Ubuntu, WSL2: apt-get install g++; macOS: xcode-select --install) "
            "and run this again"
        )


class one_at_a_time:
    """A lock, so that two set-ups started at once wait for each other."""

    def __enter__(self) -> None:
        folder = repository() / "build"
        folder.mkdir(exist_ok=True)
        self.file = (folder / "setup.lock").open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        self.file.close()


def install_beside_colab(dry_run: bool) -> None:
    """Add what a Colab runtime lacks; its torch and numpy are constraints, so pip cannot replace them."""
    kept = [f"{name}=={metadata.version(name).split('+')[0]}" for name in spec.TORCH]
    have = spec.pins(ENVIRONMENTS["main"].lock)
    engines = [have[name] for name in ("bitsandbytes", "peft", "compressed-tensors", "optimum", "gguf")]
    constraints = repository() / "build" / "colab-constraints.txt"
    print(f"keeping {' and '.join(kept)}; adding {', '.join(engines)} and the course")
    if dry_run:
        return
    constraints.parent.mkdir(exist_ok=True)
    constraints.write_text("\n".join(kept) + "\n")
    command = (
        sys.executable,
        "-m",
        "pip",
        *install.PIP,
        "-c",
        str(constraints),
        "-e",
        str(repository()),
        *engines,
    )
    before = installed()
    if code := subprocess.run(command, cwd=repository()).returncode:
        raise SetupError(f"pip ended with code {code}; its message is above")
    after = installed()
    if changed := sorted(name for name in before if after.get(name, before[name]) != before[name]):
        told = ", ".join(f"{name} {before[name]} -> {after[name]}" for name in changed)
        print(
            f"changed: {told}; restart the session once (Runtime, Restart session), then run this cell again"
        )


def installed() -> dict[str, str]:
    """Return the version of every installed distribution."""
    return {found.name: found.version for found in metadata.distributions()}


if __name__ == "__main__":
    main()
