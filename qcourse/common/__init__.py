"""What every room may use: the user-facing error, atomic files, hashes and the places things live in."""

from qcourse.common.config import read_config
from qcourse.common.errors import QCourseError
from qcourse.common.files import (
    atomic_folder,
    atomic_path,
    content_hash,
    read_text,
    record_path,
    replace_folder,
    write_json,
)
from qcourse.common.places import (
    cache_folder,
    data_folder,
    home_folder,
    repository,
    results_folder,
    shared_folder,
)

__all__ = [
    "QCourseError", "atomic_folder", "atomic_path", "cache_folder", "content_hash", "data_folder",
    "home_folder", "read_config", "read_text", "record_path", "replace_folder", "repository",
    "results_folder", "shared_folder", "write_json",
]  # fmt: skip
