"""The lessons' yardstick: every candidate against the same bf16 model on the same tokens."""

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from qcourse.common.display import show_table

LARGEST_MEMORY = 300e6  # bytes of logits kept, so that the reference runs once and not with every candidate


class Yardstick:
    """Holds the bf16 model of this session and the evaluation windows; collects one row a candidate.

    n_windows x context tokens of held-out prose; the description printed at the start says
    everything that decides a perplexity. Rows carry 95% intervals by a bootstrap over windows.
    """

    def __init__(self, n_windows: int = 16, context: int = 512) -> None:
        from qcourse import measure, models
        from qcourse.measure.remembered import Remembered

        self.reference = models.load()
        self.name = Path(self.reference.name).name
        self.remembered = Remembered(measure.as_source(self.reference), LARGEST_MEMORY)
        self.tokens = measure.evaluation_tokens(self.reference.tokenizer, n_windows, context)
        self.found: dict[str, Any] = {}
        self.losses: dict[str, Any] = {}
        self.rows: list[dict] = []
        print(f"{self.name}: {self.tokens}")

    def fresh(self) -> Any:
        """Return a copy of the bf16 model, to be changed at will."""
        return copy.deepcopy(self.reference.model)

    def measure(self, name: str, model: Any, bits: float | None = None) -> dict:
        """Measure one candidate (a model or anything with `.logits`), keep its row, return it.

        A second measurement under the same name replaces the first.
        """
        from qcourse.measure.compare import compare
        from qcourse.measure.divergence import divergence_of
        from qcourse.measure.perplexity import perplexity_of

        comparison = compare(model, self.tokens, self.remembered)
        divergence, self.losses[name] = divergence_of(comparison), perplexity_of(comparison)
        low, high = divergence.intervals.get("kl_mean", (float("nan"), float("nan")))
        row = {
            "candidate": name,
            "bits per weight": bits,
            "perplexity": self.losses[name].value,
            "KL (nats)": divergence.kl_mean,
            "95% low": low,
            "95% high": high,
            "p99": divergence.kl_p99,
            "top-1": f"{divergence.top1_agreement:.1%}",
        }
        self.found[name] = divergence
        self.rows = [known for known in self.rows if known["candidate"] != name] + [row]
        return row

    def table(self) -> None:
        """Show all rows, in the order of measurement."""
        show_table(self.rows)

    def kl(self, name: str) -> float:
        """Return the mean KL of a measured candidate, in nats."""
        return self.found[name].kl_mean

    def perplexity(self, name: str) -> float:
        """Return the perplexity of a measured candidate."""
        return next(row["perplexity"] for row in self.rows if row["candidate"] == name)

    def ratio(self, name: str, other: str) -> Any:
        """Return KL(name) / KL(other) with its 95% interval, paired by window."""
        from qcourse.measure.statistics import paired_bootstrap

        first, second = (self.found[key].kl_per_sequence.numpy() for key in (name, other))
        return paired_bootstrap(first, second, "ratio")

    def perplexity_ratio(self, name: str, other: str) -> Any:
        """Return perplexity(name) / perplexity(other) with its 95% interval, paired by window."""
        from qcourse.measure.statistics import resample

        loss, base = (self.losses[key].nll_per_sequence.numpy() for key in (name, other))
        count = self.losses[name].evaluation.scored.sum(1).numpy()
        apart = (loss - base) * count
        return resample(len(apart), lambda drawn: np.exp(apart[drawn].sum(-1) / count[drawn].sum(-1)))

    def rise(self, name: str, other: str) -> Any:
        """Return by how many percent the perplexity of a candidate exceeds another's, with its interval."""
        return self.perplexity_ratio(name, other).apply(lambda ratio: 100 * (ratio - 1))

    def bars(self, title: str = "", names: Collection[str] | None = None) -> Any:
        """Draw the KL of all candidates but the baseline, or of those named, as dots with their intervals."""
        from qcourse.course import figures

        rows = [row for row in self.rows if row["KL (nats)"] > 0 and (not names or row["candidate"] in names)]
        values = {row["candidate"]: row["KL (nats)"] for row in rows}
        return figures.bars(values, "KL (nats), less is better", title, self.intervals, log=True)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The ends of each candidate's 95% interval of the KL."""
        return {row["candidate"]: (row["95% low"], row["95% high"]) for row in self.rows}
