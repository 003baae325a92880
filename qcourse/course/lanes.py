"""Every lane of the course, end to end: artefact, its real engine, one row of the scoreboard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, repository
from qcourse.course.artefacts import archived_artefact, artefact
from qcourse.course.lesson import muted

ITEMS = 50
WINDOWS, CONTEXT = 8, 256  # vLLM sends 4,096 log-probabilities a token as text: 9 ms each
NEEDS = {"bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed_tensors", "gptq": "gptqmodel"}
ARCHIVED = ("autogptq", "autoawq")  # made in .venv-peers


@dataclass(frozen=True)
class Lane:
    """A way of shipping: recipe and format make the artefact, engine and cache type run it."""

    name: str
    recipe: str
    form: str
    engine: str
    kv_cache_dtype: str = "auto"

    def __str__(self) -> str:
        return f"{self.name} in {self.engine}"


LANES = (
    Lane("bf16", "bf16", "merged", "transformers"),
    Lane("bf16", "bf16", "merged", "vllm"),
    Lane("fp8-kv", "bf16", "merged", "vllm", "fp8"),
    Lane("rtn", "rtn-w4g128", "gptq", "transformers"),
    Lane("gptq", "gptq-w4g128", "gptq", "transformers"),
    Lane("gptq", "gptq-w4g128", "gptq", "vllm"),
    Lane("awq", "awq-w4g128", "awq", "vllm"),
    Lane("w8a8-int8", "w8a8-int8", "compressed-tensors", "vllm"),
    Lane("fp8", "fp8-dynamic", "compressed-tensors", "transformers"),
    Lane("llm-int8", "llm-int8", "bitsandbytes", "transformers"),
    Lane("nf4", "nf4", "bitsandbytes", "transformers"),
    Lane("qlora", "gptq-w4g128", "gptq", "transformers"),
    Lane("qlora", "gptq-w4g128", "gptq", "vllm"),
    Lane("autogptq", "gptq-w4g128", "gptq", "vllm"),
    Lane("autoawq", "awq-w4g128", "awq", "vllm"),
    Lane("gguf", "gguf-bf16", "gguf", "llama.cpp"),
    Lane("gguf", "gguf-q8_0", "gguf", "llama.cpp"),
    Lane("gguf", "gguf-q4_k_m", "gguf", "llama.cpp"),
)


def measure_all(say: Callable[..., None], items: int = ITEMS) -> dict[str, str]:
    """Measure every lane into build/scoreboard.jsonl, a line each; return the skipped ones with reasons.

    A lane that fails is reported and the next one goes on: the report names it with its error.
    """
    from qcourse import measure, models

    base = models.load()
    tokens = measure.evaluation_tokens(base.tokenizer, WINDOWS, CONTEXT)
    say(f"[lane 0/{len(LANES)}] noise: bf16 against fp32 ...", end=" ")
    say(f"KL {measure_noise(base, tokens).kl_mean:.2g}")
    skipped = {}
    for index, lane in enumerate(LANES, 1):
        say(f"[lane {index}/{len(LANES)}] {lane} ...", end=" ")
        try:
            row = measure_lane(lane, base, tokens, items)
            say(f"KL {row.kl_mean:.2g}, {row.build_seconds or 0:.0f} s")
        except QCourseError as reason:
            skipped[str(lane)] = str(reason)
            say(f"skipped: {reason}")
        except Exception as error:  # one broken engine must not take the other lanes with it
            skipped[str(lane)] = f"failed: {type(error).__name__}: {str(error)[:300]}"
            say(skipped[str(lane)])
    return skipped


def measure_noise(base: Any, tokens: Any) -> Any:
    """Measure what arithmetic in bf16 alone does: differences below this row mean nothing."""
    from qcourse import measure, models

    exact = models.load(base.folder, dtype="float32")
    return measure.noise_row(base, exact, tokens, plan=measure.Plan(time=False), model_hash=base.hash,
                             artefact=base.folder, progress=False, scoreboard=scoreboard_file())


def measure_lane(lane: Lane, base: Any, tokens: Any, items: int = ITEMS) -> Any:
    """Build the lane's artefact, load it in its engine and return its measured scoreboard row.

    base: the LoadedModel in bf16, the reference of every divergence.
    Raises QCourseError when the engine is missing or cannot run the artefact here.
    """
    from qcourse import measure, recipe

    check_engine(lane)
    reference, path = reference_and_artefact(lane, base)
    with opened(lane, path, base) as source:
        return measure.evaluate(
            source, reference, tokens, recipe=recipe.named(lane.recipe), lane=lane.name, artefact=path,
            plan=measure.Plan(n_items=items), model_hash=base.hash, progress=False,
            scoreboard=scoreboard_file())


def reference_and_artefact(lane: Lane, base: Any) -> tuple[Any, Path]:
    """Return the bf16 model that a lane is measured against, and its artefact; QLoRA's is merged."""
    if lane.name == "qlora":
        from qcourse.course.tuned import calibration_texts, tuned

        reference = tuned(base)
        texts = calibration_texts(base.tokenizer)
        return reference, artefact(lane.recipe, lane.form, reference, "qlora-", texts)
    if lane.name in ARCHIVED:
        return base, archived_artefact(lane.name, lane.recipe, lane.form, base)
    return base, base.folder if lane.recipe == "bf16" else artefact(lane.recipe, lane.form, base)


def scoreboard_file() -> Path:
    """Return where rows go: build/scoreboard.jsonl."""
    return repository() / "build" / "scoreboard.jsonl"


def check_engine(lane: Lane) -> None:
    """Raise QCourseError when the engine of a lane, or the library of its format, is not installed."""
    if lane.engine == "transformers":
        module = NEEDS.get(lane.form)
    else:
        module = "llama_cpp" if lane.engine == "llama.cpp" else None
    if module and find_spec(module) is None:
        raise QCourseError(f"{module} is not installed; {lane} needs it; make main installs it")


@contextmanager
def opened(lane: Lane, path: Path, base: Any) -> Iterator[Any]:
    """Yield the artefact in its engine as a logit source; a server runs only inside the block."""
    from qcourse import measure, serve

    if lane.engine == "vllm":
        with serve.vllm(path, kv_cache_dtype=lane.kv_cache_dtype, progress=False) as server:
            server.name = base.name  # decides which skills are asked
            yield server
    elif lane.engine == "llama.cpp":
        with serve.llama_cpp(path, progress=False) as server:
            server.name = base.name
            yield server
    else:
        with in_transformers(path) as loaded:
            yield measure.HFSource(loaded.model, loaded.tokenizer, base.name)


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
        loaded.model = None  # bitsandbytes' parameters cannot be moved to "meta", so they are only let go
        release(loaded)
