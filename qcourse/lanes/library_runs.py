"""Runs of production libraries too long for a lesson: made once by `make course`, then remembered."""

from collections.abc import Callable
from typing import Any

from qcourse.common import QCourseError

SEQUENCES = 16  # x 512 tokens, the lessons' own
RUNS = {
    "llm-compressor GPTQ": ("llmcompressor_gptq", 4), "llm-compressor AWQ": ("llmcompressor_awq", 4),
    "AutoRound": ("auto_round", 2),
}  # fmt: skip
"""What a run is called: its function in `libraries`, and its bits."""


def full_run(name: str, base: Any, build: bool = False) -> Any:
    """Return the remembered run of a library on the loaded model `base`: Cached, or None if never made.

    The value holds bits, sequences, seconds of the library alone, and on 16 x 512 held-out tokens kl_mean
    and kl_per_sequence.
    build: make it now if it is not there. The key covers model, run, tokens and versions.
    Raises QCourseError for an unknown name.
    """
    from qcourse.measure import versions
    from qcourse.measure.cache import cached, stored

    if name not in RUNS:
        raise QCourseError(f"no full run {name!r}; there are {', '.join(RUNS)}; check the spelling")
    key = {
        "run": name, "bits": RUNS[name][1], "sequences": SEQUENCES, "model": base.hash, "versions": versions()
    }  # fmt: skip
    return cached("library", key, lambda: make(name, base)) if build else stored("library", key)


def make(name: str, base: Any) -> dict:
    """Run the library on a copy of the model and measure the copy."""
    import copy
    import time

    from qcourse import measure
    from qcourse.lanes import libraries
    from qcourse.pipeline import calibration_tokens, recipe_for

    function, bits = RUNS[name]
    model, group = copy.deepcopy(base.model), recipe_for("rtn-w4", base).group_size
    tokens = calibration_tokens(base.tokenizer, SEQUENCES)
    start = time.perf_counter()
    getattr(libraries, function)(model, base.tokenizer, tokens, bits=bits, group_size=group)
    seconds = time.perf_counter() - start
    found = measure.divergence(base.model, model, measure.evaluation_tokens(base.tokenizer, 16, 512))
    return {"bits": bits, "sequences": SEQUENCES, "seconds": seconds, "kl_mean": found.kl_mean,
            "kl_per_sequence": found.kl_per_sequence.tolist()}  # fmt: skip


def make_all(say: Callable[..., None]) -> dict[str, str]:
    """Make every run that is not remembered, a line each; return the failed ones with reasons."""
    from importlib.util import find_spec

    from qcourse import models

    if find_spec("llmcompressor") is None:
        return {name: "llmcompressor is not installed; make main installs it" for name in RUNS}
    base, failed = models.load(), {}
    for name in RUNS:
        say(f"[library] {name}, {SEQUENCES} x 512 tokens ...", end=" ")
        try:
            found = full_run(name, base, build=True)
            say(f"KL {found.value['kl_mean']:.2g}, {found}")
        except Exception as error:  # a library that breaks is reported, the course goes on
            failed[name] = f"failed: {type(error).__name__}: {str(error)[:300]}"
            say(failed[name])
    return failed
