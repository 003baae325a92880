"""What the tested locks pin, and what pyproject asks for. Standard library only."""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

from qcourse.common.places import repository


def normal(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path) -> dict[str, str]:
    """Return the lock's lines by normalized name, such as {"torch": "torch==2.13.0"}."""
    lines = (line.strip() for line in lock.read_text().splitlines())
    return {normal(line.split("==")[0]): line for line in lines if line and not line.startswith("#")}


def lock_hash(lock: Path) -> str:
    """Return what a stamp compares: the SHA-256 of the lock and of the Python that reads it."""
    return hashlib.sha256(lock.read_bytes() + sys.version.split()[0].encode()).hexdigest()[:16]


def asked_for() -> list[str]:
    """Return the normalized names in pyproject's dependencies and extras."""
    project = tomllib.loads((repository() / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [normal(re.match(r"[\w.-]+", line)[0]) for names in lists for line in names]
