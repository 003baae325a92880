"""YAML files: the course's own tables in data/, and those that a user writes."""

import functools
from pathlib import Path
from typing import Any

from qcourse.common.errors import QCourseError
from qcourse.common.files import read_text
from qcourse.common.places import data_folder


@functools.cache
def data_table(name: str) -> Any:
    """Return data/NAME, read once; callers leave it as it is."""
    return read_yaml(data_folder() / name)


def read_yaml(path: Path | str) -> Any:
    """Return what a YAML file holds; QCourseError if it is missing or no YAML."""
    import yaml

    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise QCourseError(f"{path} is not YAML: {error}") from error
