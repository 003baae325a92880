"""A checkpoint in bfloat16 without holding the model: float16 products take a CPU ten times as long."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from qcourse.common import QCourseError, atomic_path, read_config, write_json
from qcourse.common.tensor_header import read_header
from qcourse.models.checkpoint import check_checkpoint
from qcourse.models.mapped import mapped_tensors


def bfloat16_folder(folder: Path, copy: Path) -> Path:
    """Return `folder` if all of its tensors are bfloat16, else `copy`, written as far as it is not there.

    copy: gets config.json, generation_config.json and a safetensors file for each tensor, of the same values
    as those of models.load.
    Raises QCourseError for a damaged checkpoint, a dtype that cannot be streamed, a disk without room.
    """
    import torch
    from safetensors.torch import save_file

    files = check_checkpoint(folder)
    entries = [entry for path in files for entry in read_header(path).values()]
    if all(entry.dtype == "BF16" for entry in entries):
        return folder
    copy.mkdir(parents=True, exist_ok=True)
    check_room(folder, copy, 2 * sum(math.prod(entry.shape) for entry in entries))
    for path in files:
        for name, tensor in mapped_tensors(path).items():
            target = copy / f"{name}.safetensors"
            if not target.is_file():
                with atomic_path(target) as temporary:
                    save_file({name: tensor.to(torch.bfloat16)}, temporary)
    config = {key: value for key, value in read_config(folder).items() if key != "torch_dtype"}
    write_json(copy / "config.json", config | {"dtype": "bfloat16"})
    if (settings := folder / "generation_config.json").is_file():
        shutil.copyfile(settings, copy / settings.name)
    return copy


def check_room(folder: Path, copy: Path, need: int) -> None:
    """Raise QCourseError when the bytes of a copy, less what it has already, do not fit on the disk."""
    have = sum(path.stat().st_size for path in copy.glob("*.safetensors"))
    free = shutil.disk_usage(copy).free
    if need - have > free:
        raise QCourseError(
            f"{folder} is not bfloat16, and its copy in bfloat16 needs {(need - have) / 1e9:.1f} GB where "
            f"{free / 1e9:.1f} GB are free: free some disk, or give another output folder"
        )
