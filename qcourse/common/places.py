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


def cache_folder() -> Path:
    """Return the folder of content-addressed results: QCOURSE_CACHE, or build/cache in the checkout."""
    return Path(os.environ.get("QCOURSE_CACHE", repository() / "build" / "cache"))
