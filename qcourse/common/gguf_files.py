"""A GGUF model in one file or in shards NAME-00001-of-00003.gguf, any of which names all of them."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qcourse.common.errors import QCourseError
from qcourse.common.gguf_header import check_gguf_header

SHARD = re.compile(r"(?P<name>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")


def gguf_files(path: Path | str) -> list[Path]:
    """Return the files of a GGUF model, in order; QCourseError where a shard is not beside the others."""
    path = Path(path)
    found = SHARD.fullmatch(path.name)
    if found is None:
        return [path]
    count = int(found["count"])
    files = [
        path.with_name(f"{found['name']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)
    ]
    if missing := [file.name for file in files if not file.exists() and path.exists()]:
        raise QCourseError(
            f"{path} is one of {count} shards and {missing[0]} is not beside it; download it too"
        )
    return files if path.exists() else [path]


class GGUFModel:
    """What gguf-py reads of all files of a model: `tensors` of all, `fields` of the first."""

    def __init__(self, readers: list[Any]) -> None:
        self.fields = readers[0].fields
        self.get_field = readers[0].get_field
        self.tensors = [tensor for reader in readers for tensor in reader.tensors]


def open_gguf(path: Path | str) -> GGUFModel:
    """Open a GGUF model, whole; QCourseError for damage, a missing shard, and a shard renamed."""
    import gguf

    files = gguf_files(path)
    for file in files:
        check_types(file, check_gguf_header(file))
    try:
        model = GGUFModel([gguf.GGUFReader(file) for file in files])
        counts = [model.get_field(f"split.{name}") for name in ("count", "tensors.count")]
        shards, tensors = (None if field is None else int(field.contents()) for field in counts)
    except Exception as error:  # gguf-py raises whatever its arithmetic on a damaged file comes to
        raise QCourseError(f"{path} is damaged: {str(error)[:120]}; download or write it again") from error
    if (shards or 1) != len(files) and (shards or 1) > 1:
        raise QCourseError(
            f"{path} is one shard of {shards}; give all of them their names back, such as "
            f"model-00001-of-{shards:05}.gguf"
        )
    if tensors is not None and tensors != len(model.tensors):
        raise QCourseError(
            f"{path} holds {len(model.tensors)} tensors of {tensors}; download every shard again"
        )
    return model


def check_types(path: Path, types: set[int]) -> None:
    """Raise QCourseError for a type of tensor that the installed gguf-py does not know."""
    from gguf import GGMLQuantizationType

    if unknown := types - {kind.value for kind in GGMLQuantizationType}:
        raise QCourseError(
            f"{path} holds tensors of type {min(unknown)}, which gguf {version('gguf')} does not know; "
            "take the model in another type, such as Q4_K_M"
        )


def served_name(path: Path) -> str:
    """Return an artefact's name: its folder's, or a GGUF file's unless that is only "model.gguf"."""
    if path.suffix != ".gguf":
        return path.name
    return path.parent.name if path.stem == "model" else path.stem
