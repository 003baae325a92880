"""Where things live: the checkout, its data, the learner's home, and the cache of finished runs."""

import os
from pathlib import Path


def repository() -> Path:
    """Return the root of the checkout, or ~/qcourse where the package is installed without one."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.home() / "qcourse"


def data_folder() -> Path:
    """Return the folder of shipped data: data/ of the checkout (the package links to it), or the wheel's."""
    return (Path(__file__).resolve().parents[1] / "data").resolve()


def home_folder() -> Path:
    """Return the learner's own folder: QCOURSE_HOME, or work/ in `repository`."""
    return Path(os.environ.get("QCOURSE_HOME", repository() / "work"))


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists: where it would be made."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def shared_folder() -> Path:
    """Return the folder of what is built once for all who use the checkout: artefacts, cached figures.

    build/ in `repository`; in the learner's own folder where that cannot be written, as a checkout that a
    whole workshop shares.
    """
    shared = repository() / "build"
    return shared if os.access(existing(shared), os.W_OK) else home_folder() / "build"


def results_folder() -> Path:
    """Return the folder of rows, reports and executed lessons: build/ in QCOURSE_HOME, or the shared one."""
    home = home_folder()
    return shared_folder() if home == repository() / "work" else home / "build"


def cache_folder() -> Path:
    """Return the folder of content-addressed results: QCOURSE_CACHE, or `shared_folder`'s cache/."""
    return Path(os.environ.get("QCOURSE_CACHE") or shared_folder() / "cache")
