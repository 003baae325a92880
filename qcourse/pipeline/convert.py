"""From a GGUF file of anyone to a folder, with the record of where it came from."""

from pathlib import Path


def convert(source: Path, target: Path) -> Path:
    """Write the model of a GGUF file as a bf16 folder with its record; QCourseError says what cannot be."""
    from qcourse import gguf_reader
    from qcourse.common import content_hash
    from qcourse.recipe import named
    from qcourse.recipe.record import new_record, write_record

    made = gguf_reader.convert(source, target)
    facts = {"source": {"model": source.name, "hash": content_hash(source), "revision": None}}
    write_record(made, new_record(named("bf16"), "merged", facts))
    return made
