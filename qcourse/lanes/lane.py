"""The lanes of the course: recipe, format and engine of each, its artefact, and that in its engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.quiet import muted
from qcourse.common.tables import data_table
from qcourse.lanes.archived import archived_artefact
from qcourse.pipeline import artefact

NEEDS = {
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed_tensors",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "gguf": "llama_cpp",
}
ARCHIVED = ("autogptq", "autoawq")  # made in .venv-peers


@dataclass(frozen=True)
class Lane:
    """A way of shipping: recipe and format make the artefact, engine and cache type run it.

    A recipe without a group size has the largest usual one that fits the model.
    """

    name: str
    recipe: str
    form: str
    engine: str
    kv_cache_dtype: str = "auto"

    def __str__(self) -> str:
        return f"{self.name} in {self.engine}"


LANES = tuple(Lane(**row) for row in data_table("course_lanes.yaml"))


def reference_and_artefact(lane: Lane, base: Any) -> tuple[Any, Path]:
    """Return the bf16 model that a lane is measured against, and its artefact; QLoRA's is merged."""
    if lane.name == "qlora":
        from qcourse.lanes.qlora_model import calibration_texts, tuned

        reference = tuned(base)
        texts = calibration_texts(base.tokenizer)
        return reference, artefact(lane.recipe, lane.form, reference, "qlora-", texts)
    if lane.name in ARCHIVED:
        return base, archived_artefact(lane.name, lane.recipe, lane.form, base)
    return base, base.folder if lane.recipe == "bf16" else artefact(lane.recipe, lane.form, base)


def check_engine(lane: Lane) -> None:
    """Raise QCourseError when the engine of a lane, or the library of its format, is not installed."""
    module = NEEDS.get(lane.form) if lane.engine in ("transformers", "llama.cpp") else None
    if module and find_spec(module) is None:
        raise QCourseError(f"{module} is not installed; {lane} needs it; make main installs it")


@contextmanager
def opened(lane: Lane, path: Path) -> Iterator[Any]:
    """Yield the artefact in its engine as a logit source; a server runs only inside the block."""
    from qcourse import measure, serve

    if lane.engine == "transformers":
        with in_transformers(path) as loaded:
            yield measure.HFSource(loaded.model, loaded.tokenizer)
        return
    start = serve.vllm if lane.engine == "vllm" else serve.llama_cpp
    with start(path, kv_cache_dtype=lane.kv_cache_dtype, progress=False) as server:
        yield server


@contextmanager
def in_transformers(path: Path) -> Iterator[Any]:
    """Yield a checkpoint loaded by transformers; its memory is given back after the block.

    One forward comes first: compressed-tensors unpacks its weights in it.
    """
    import torch

    from qcourse import models
    from qcourse.models.load import release

    with muted(), torch.inference_mode():
        loaded = models.load(path)
        loaded.model(input_ids=torch.tensor([[0, 1]], device=loaded.model.device))
    try:
        yield loaded
    finally:
        release(loaded)
