"""Checkpoints of the archived libraries, made in an environment of their own."""

from pathlib import Path
from typing import Any

from qcourse.common import content_hash
from qcourse.pipeline.artefacts import calibration_tokens, folder_of, is_current, made_of, one_builder
from qcourse.recipe import named


def archived_artefact(library: str, recipe: str, form: str, base: Any, sequences: int = 16) -> Path:
    """Return the checkpoint that AutoGPTQ or AutoAWQ makes of `base`, in .venv-peers, unless it is there.

    sequences: how many windows of 512 tokens it is calibrated on; these libraries take minutes for more.
    Raises QCourseError if the environment is missing.
    """
    import shutil

    from qcourse.export import write_record
    from qcourse.lanes import peers

    folder = folder_of(recipe, form, base, f"{library}-")
    script = content_hash(peers.script(library))  # how the library is called
    with one_builder(folder):
        if not is_current(folder, named(recipe), base.hash, script=script):
            peers.quantize(library, base.folder, calibration_tokens(base.tokenizer, sequences), folder)
            shutil.rmtree(folder / "dequantized")  # the same weights once more, dense: they would be counted
            manifest = {**made_of(base), "library": library, "sequences": sequences, "script": script}
            write_record(folder, named(recipe), form, manifest)
    return folder
