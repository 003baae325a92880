"""Which files of a folder are the checkpoint: one rule for everyone who reads, counts or streams it."""

import re
import sys
from pathlib import Path

from qcourse.common.config import strict_json
from qcourse.common.errors import QCourseError

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
told: set[Path] = set()  # stray files that were named already


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the safetensors files that hold a checkpoint's weights, sorted; [] if there are none.

    The index decides; without one model.safetensors; then the shards; then whatever there is. A file that is
    no part of the checkpoint is named on stderr once and left alone.
    Raises QCourseError for an index that cannot be read or names a file that is not there.
    """
    present = {path.name for path in folder.glob("*.safetensors")}
    wanted = indexed(folder)
    if wanted is None:
        wanted = {SINGLE} & present or {name for name in present if SHARD.fullmatch(name)} or present
    elif missing := sorted(wanted - present):
        raise QCourseError(f"{folder} lacks the shard {missing[0]}; download the checkpoint again")
    for name in sorted(present - wanted):
        if folder / name not in told:
            told.add(folder / name)
            print(f"{folder / name} is no part of the checkpoint and is left alone", file=sys.stderr)
    return [folder / name for name in sorted(wanted)]


def indexed(folder: Path) -> set[str] | None:
    """Return the names of the files that the index gives tensors, None where there is no index."""
    index = folder / INDEX
    if not index.is_file():
        return None
    try:
        return set(strict_json(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise QCourseError(
            f"{index} is not a readable index ({error}); download the checkpoint again"
        ) from error
