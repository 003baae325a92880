"""Checks of a model folder before anything of it is read: headers, sizes, offsets, no pickle."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qcourse.common import QCourseError, read_config, write_json
from qcourse.common.checkpoint_files import INDEX, SINGLE, checkpoint_files
from qcourse.common.kv_names import is_of_a_cache
from qcourse.common.tensor_header import read_header

HARMLESS = ("rotary_emb.inv_freq", "lm_head.weight")  # computed anew; compared where embeddings are tied


def check_checkpoint(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder after checking each header.

    Raises QCourseError when config.json or weights are missing, when the weights are
    pickles, when a shard named by the index is absent, when a file is damaged, or when two hold one tensor.
    """
    read_config(folder)
    files = checkpoint_files(folder)
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        why = f"only pickles ({', '.join(pickles[:2])}), which are never read" if pickles else "no weights"
        raise QCourseError(f"{folder} holds {why}; convert them to safetensors first")
    names: dict[str, Path] = {}
    for path in files:
        for name in read_header(path):
            if name in names:
                raise QCourseError(
                    f"{name} is in {names[name].name} and in {path.name} of {folder}; remove one"
                )
            names[name] = path
    return files


@contextmanager
def for_transformers(folder: Path, files: list[Path]) -> Iterator[Path]:
    """Yield a folder from which transformers reads just these weights, as long as the block runs.

    transformers takes model.safetensors, else an index, and nothing else: where our rule chose otherwise,
    this is a folder of links with an index of its own.
    """
    single = folder / SINGLE
    if files == [single] or (not single.exists() and (folder / INDEX).is_file()):
        yield folder
        return
    weight_map = {name: path.name for path in files for name in read_header(path)}
    with tempfile.TemporaryDirectory() as temporary:
        for path in folder.iterdir():
            if path in files or (path.suffix != ".safetensors" and path.name != INDEX):
                (Path(temporary) / path.name).symlink_to(path.resolve())
        write_json(Path(temporary) / INDEX, {"metadata": {}, "weight_map": weight_map})
        yield Path(temporary)


def check_all_read(folder: Path, unread: Iterable[str]) -> None:
    """Raise QCourseError for a tensor of an unquantized checkpoint that nothing reads, such as a scale."""
    if strange := sorted(name for name in unread if not (name.endswith(HARMLESS) or is_of_a_cache(name))):
        raise QCourseError(
            f"{folder} holds {strange[0]}, which no part of the model reads"
            f"{f' ({len(strange)} such tensors)' if len(strange) > 1 else ''}; "
            "if the checkpoint is quantized, its quantization_config is missing from config.json"
        )
