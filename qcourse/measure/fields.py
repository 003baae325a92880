"""What a row of the scoreboard measures: `EvaluationConfig` says what, `measure_row` does it."""

from dataclasses import dataclass
from typing import Any

from qcourse.measure.compare import compare
from qcourse.measure.divergence import divergence_of
from qcourse.measure.latency import latency
from qcourse.measure.memory import PeakMemory
from qcourse.measure.perplexity import perplexity_of
from qcourse.measure.skills import skill_scores
from qcourse.measure.sources import LogitSource
from qcourse.measure.tokens import EvaluationSet


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure beside the tokens: n_items of each of these skills, and times at which sizes."""

    skills: tuple[str, ...] = ()
    n_items: int = 50
    time: bool = True
    prompt_tokens: int = 256
    new_tokens: int = 16


def measure_row(
    source: LogitSource, base: Any, evaluation: EvaluationSet, config: EvaluationConfig, progress: bool,
    tokenizer: Any = None
) -> dict:  # fmt: skip
    """Return the measured fields of a row; tokenizer: for sources that bring none."""
    with PeakMemory(*source.process_ids) as peak:
        comparison = compare(source, evaluation, base, progress)
        text = perplexity_of(comparison)
        spread = text.interval
        values = {"perplexity": text.value, "evaluated_tokens": evaluation.n_tokens}
        intervals = {"perplexity": [spread.low, spread.high]} if spread else {}
        if base is not None:
            found = divergence_of(comparison)
            values |= {name: getattr(found, name) for name in ("kl_mean", "kl_p99", "top1_agreement")}
            intervals |= found.intervals
    if config.skills and config.n_items:
        scores = skill_scores(source, config.skills, config.n_items, tokenizer)
        values |= {"skills": scores["skills"], "n_items": config.n_items}
        intervals |= {f"skills.{name}": pair for name, pair in scores["intervals"].items()}
    if config.time:
        values |= timing_fields(source, config)
    return values | {"intervals": intervals, "peak_memory_bytes": peak.cuda_bytes or peak.bytes}


def timing_fields(source: LogitSource, config: EvaluationConfig) -> dict:
    """Return time to first token and the two rates of one sequence."""
    (found,) = latency(source, (1,), config.prompt_tokens, config.new_tokens)
    return {
        "ttft": found.ttft,
        "tokens_per_second": found.prefill_tokens_per_second,
        "decode_tokens_per_second": found.decode_tokens_per_second,
    }
