"""Checks of a model folder before anything of it is read: headers, sizes, offsets, no pickle."""

import json
from pathlib import Path

from qcourse.common import QCourseError, read_config
from qcourse.common.tensor_header import read_header


def check_checkpoint(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder after checking each header.

    Raises QCourseError when config.json or weights are missing, when the weights are
    pickles, when a shard named by the index is absent, or when a file is damaged.
    """
    read_config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        why = f"only pickles ({', '.join(pickles[:2])}), which are never read" if pickles else "no weights"
        raise QCourseError(f"{folder} holds {why}; convert them to safetensors first")
    check_index(folder, {path.name for path in files})
    for path in files:
        read_header(path)
    return files


def check_index(folder: Path, present: set[str]) -> None:
    """Raise QCourseError when model.safetensors.index.json names a shard that is not in `present`."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        wanted = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise QCourseError(
            f"{index} is not a readable index ({error}); download the checkpoint again"
        ) from error
    if missing := sorted(wanted - present):
        raise QCourseError(f"{folder} lacks the shard {missing[0]}; download the checkpoint again")
