"""Checkpoints that AutoGPTQ and AutoAWQ make of a model in .venv-peers, kept as artefacts with a record."""

from pathlib import Path
from typing import Any

from qcourse.common import content_hash
from qcourse.pipeline.artefacts import folder_of, is_current, one_builder, recipe_for
from qcourse.pipeline.build import source_facts
from qcourse.pipeline.calibration import Calibration

SEQUENCES = 16  # windows of 512 tokens; these libraries take minutes for more


def archived_artefact(library: str, name: str, form: str, base: Any) -> Path:
    """Return the checkpoint that AutoGPTQ or AutoAWQ makes of `base`, in .venv-peers, unless it is there.

    Raises QCourseError if the environment is missing.
    """
    import shutil

    from qcourse.lanes import peers
    from qcourse.recipe.record import new_record, write_record

    recipe, text = recipe_for(name, base), Calibration(sequences=SEQUENCES)
    folder = folder_of(recipe, form, base, f"{library}-")
    made_by = {"library": library, "script": content_hash(peers.script(library))}  # how it is called
    with one_builder(folder):
        if not is_current(folder, recipe, base, text, **made_by):
            tokens = text.tokens(base.tokenizer)
            peers.quantize(library, base.folder, tokens, folder, group_size=recipe.group_size)
            shutil.rmtree(folder / "dequantized")  # the same weights once more, dense: they would be counted
            facts = {"source": source_facts(base.name, base.hash), "calibration": text.facts(tokens)}
            write_record(folder, new_record(recipe, form, facts | {"made_by": made_by}))
    return folder
