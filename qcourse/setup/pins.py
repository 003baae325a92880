"""python -m qcourse.setup.pins: write environment.yml and binder/environment.yml from the lock."""

from qcourse.common.files import atomic_path
from qcourse.common.places import repository
from qcourse.setup.environments import ENVIRONMENTS, LLAMA, SOURCES
from qcourse.setup.locks import asked_for, normal, pins

GPU = """\
# A GPU workstation's environment for conda or mamba.
# Written by `python -m qcourse.setup.pins`; do not edit.
#   conda env create -f environment.yml && conda activate qcourse
#   python qcourse/bootstrap.py here       adds GPTQModel, llama.cpp and the course itself
#   python qcourse/bootstrap.py serving    adds vLLM in an environment of its own
"""
BINDER = """\
# What Binder (repo2docker) installs first; postBuild adds the rest.
# Written by `python -m qcourse.setup.pins`; do not edit.
"""


def direct_pins() -> list[str]:
    """Return the locked versions of what pyproject asks for, but for extras and what is built from source."""
    have = pins(ENVIRONMENTS["main"].lock)
    built = {normal(name) for name in (*SOURCES, LLAMA)}
    return [have[name] for name in dict.fromkeys(asked_for()) if name in have and name not in built]


def environment_yml(heading: str, conda: tuple[str, ...]) -> str:
    """Return the text of one conda environment file."""
    lines = [heading + "name: qcourse", "channels:", "  - conda-forge", "dependencies:"]
    lines += [f"  - {package}" for package in ("python=3.11", "pip", *conda)]
    return "\n".join([*lines, "  - pip:", *(f"      - {pin}" for pin in direct_pins())]) + "\n"


def files() -> dict[str, str]:
    """Return the derived files by path in the repository."""
    return {
        "environment.yml": environment_yml(GPU, ("make", "git", "cxx-compiler")),
        "binder/environment.yml": environment_yml(BINDER, ("make", "cxx-compiler")),
    }


if __name__ == "__main__":
    for path, text in files().items():
        with atomic_path(repository() / path) as temporary:
            temporary.write_text(text)
