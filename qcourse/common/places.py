"""Where things live: the checkout, its data, the learner's home, and the cache of finished runs."""

import os
from pathlib import Path


def repository() -> Path:
    """Return the root of the checkout that this package was installed from."""
    return Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Return the folder of shipped data: models, evaluation items, tables."""
    return repository() / "data"


def home_folder() -> Path:
    """Return the learner's own folder: QCOURSE_HOME, or work/ in the checkout."""
    return Path(os.environ.get("QCOURSE_HOME", repository() / "work"))


def shared_folder() -> Path:
    """Return the folder of what is built once for all who use the checkout: artefacts, cached figures.

    build/ in the checkout; in the learner's own folder where the checkout cannot be written, as one that a
    whole workshop shares.
    """
    shared = repository() / "build"
    writable = os.access(shared if shared.exists() else repository(), os.W_OK)
    return shared if writable else home_folder() / "build"


def results_folder() -> Path:
    """Return the folder of rows, reports and executed lessons: build/ in QCOURSE_HOME, or the shared one."""
    home = home_folder()
    return shared_folder() if home == repository() / "work" else home / "build"


def cache_folder() -> Path:
    """Return the folder of content-addressed results: QCOURSE_CACHE, or `shared_folder`'s cache/."""
    return Path(os.environ.get("QCOURSE_CACHE") or shared_folder() / "cache")
