"""One yardstick for every model: perplexity, divergence, skills, speed, memory, size; and the scoreboard."""

from qcourse.common.provenance import machine, versions
from qcourse.measure.cache import Cached, cached
from qcourse.measure.compare import Comparison, compare
from qcourse.measure.divergence import Divergence, divergence, divergence_of
from qcourse.measure.evaluate import evaluate, noise_row
from qcourse.measure.fields import EvaluationConfig
from qcourse.measure.in_memory import HFSource, as_source
from qcourse.measure.latency import Latency, latency
from qcourse.measure.memory import PeakMemory, kv_bytes, weight_bytes
from qcourse.measure.pareto import pareto, pareto_front
from qcourse.measure.perplexity import Perplexity, perplexity, perplexity_of
from qcourse.measure.scoreboard import Row, append, comparable, read, select, table
from qcourse.measure.size import Size, bits_per_weight, memory_size
from qcourse.measure.skills import NOT_APPLICABLE, describe, skill_scores
from qcourse.measure.sources import LogitSource
from qcourse.measure.statistics import (
    Estimate,
    bootstrap,
    paired_bootstrap,
    percentile,
    resample,
    share,
    wilson,
)
from qcourse.measure.tokens import EvaluationSet, evaluation_tokens

__all__ = [
    "NOT_APPLICABLE", "Cached", "Comparison", "Divergence", "Estimate", "EvaluationConfig", "EvaluationSet",
    "HFSource", "Latency", "LogitSource", "PeakMemory", "Perplexity", "Row", "Size", "append", "as_source",
    "bits_per_weight", "bootstrap", "cached", "comparable", "compare", "describe", "divergence",
    "divergence_of", "evaluate", "evaluation_tokens", "kv_bytes", "latency", "machine", "memory_size",
    "noise_row", "paired_bootstrap", "pareto", "pareto_front", "percentile", "resample", "perplexity",
    "perplexity_of", "read", "select", "share", "skill_scores", "table", "versions", "weight_bytes", "wilson",
]  # fmt: skip
