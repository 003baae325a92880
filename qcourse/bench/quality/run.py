"""The quality bar: KL of ours against that of the best library for each format, with paired intervals.

`make bench-quality` runs `python -m qcourse.bench.quality.run [MODEL]`. Figures of libraries are cached by
everything that decides them (model, tokens, settings, versions); ours are made anew each time.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from qcourse.bench.quality.cases import CASES, PEERS, Case
from qcourse.common import QCourseError, content_hash, data_folder, results_folder, shared_folder, write_json
from qcourse.common.display import show_table

HIGHEST = 1.05  # the upper end of the interval of KL(ours) / KL(best peer) may not pass it


def bench(
    model: Annotated[str, typer.Argument(help="pico, a folder, or a hub id")] = "pico",
    only: Annotated[list[str] | None, typer.Option(help="rows by name; default all")] = None,
    sequences: Annotated[int, typer.Option(help="calibration windows of 512 tokens")] = 64,
    tokens: Annotated[int, typer.Option(help="evaluation tokens; the bar asks for 65,536")] = 65_536,
) -> None:
    """Quantize MODEL by us and by each library, print the tables, write build/bench_quality.json."""
    bench = Bench(model, sequences, tokens)
    known = [case.name for case in CASES]
    if unknown := sorted(set(only or []) - set(known)):
        raise QCourseError(f"there is no row {', '.join(unknown)}; known are {', '.join(known)}")
    rows: list[dict[str, Any]] = []
    for case in CASES:
        if not only or case.name in only:
            rows.append(bench.row(case))
            bench.write(rows)  # after each row: the whole takes an hour
    print(f"\n{bench.scorer.evaluation}; {bench.prose_windows} windows are prose")
    show_table([line(row) for row in rows])
    for row in rows:
        absent = "; ".join(f"{peer} {why}" for peer, why in row["missing"].items())
        print(f"{row['format']}, not compared: {absent}")


class Bench:
    """One model with its calibration and evaluation tokens."""

    def __init__(self, model: str, sequences: int, tokens: int) -> None:
        from qcourse import models
        from qcourse.bench.quality import ours, score, texts
        from qcourse.bench.quality.inputs import Inputs
        from qcourse.pipeline import calibration_tokens

        self.base = models.load(model, dtype="float32")
        calibration = calibration_tokens(self.base.tokenizer, sequences)
        evaluation, self.prose_windows = texts.evaluation_set(self.base.tokenizer, tokens)
        self.scorer = score.Scorer(self.base, evaluation)
        place = shared_folder() / "bench_quality" / self.base.hash[:16]
        bf16 = ours.bf16_gguf(models.load(model), place / "bf16.gguf")
        self.inputs = Inputs(Path(self.base.folder), calibration, bf16)

    def row(self, case: Case) -> dict[str, Any]:
        """Return one row of the table: every KL, the ratio to the best library, whether the bar is met."""
        from qcourse import measure
        from qcourse.bench.quality import ours

        theirs, failed = {}, {}
        for peer in case.peers:
            try:
                theirs[peer] = self.peer(peer, case)
            except QCourseError as error:
                failed[peer] = str(error)
        mine = self.scorer.score(ours.weights(case, self.inputs))
        found = {"format": case.name, "bits": case.bits, "ours": summary(mine),
                 "peers": {peer: summary(scores) for peer, scores in theirs.items()},
                 "missing": case.reasons() | failed}  # fmt: skip
        if theirs:
            best = min(theirs, key=lambda peer: found["peers"][peer]["kl"])
            ratio = measure.paired_bootstrap(mine["kl"], theirs[best]["kl"], "ratio")
            found |= {"best": best, "ratio": ratio.value, "interval": [ratio.low, ratio.high],
                      "must_win": case.must_win, "met": met(ratio, case.must_win)}  # fmt: skip
            parts = {"prose": slice(0, self.prose_windows), "skills": slice(self.prose_windows, None)}
            found["ratio_by_text"] = {name: mean(mine["kl"][part]) / mean(theirs[best]["kl"][part])
                                      for name, part in parts.items() if mine["kl"][part]}  # fmt: skip
        print(line(found), flush=True)
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows so far with what they were measured on."""
        from qcourse import measure

        report = {"model": self.base.hash, "evaluation": str(self.scorer.evaluation),
                  "prose_windows": self.prose_windows, "calibration_sequences": len(self.inputs.tokens),
                  "versions": measure.versions(), "machine": measure.machine(), "rows": rows}  # fmt: skip
        write_json(results_folder() / "bench_quality.json", report)

    def peer(self, peer: str, case: Case) -> dict[str, list[float]]:
        """Return a library's scores, made now or taken from the cache."""
        from qcourse import calibrate, measure
        from qcourse.bench.quality import theirs
        from qcourse.lanes import peers

        lock = content_hash(data_folder() / "constraints" / "peers.txt")
        key = {"model": self.base.hash, "peer": peer, "settings": case.peers[peer], "family": case.family,
               "calibration": calibrate.tokens_hash(self.inputs.tokens),
               "evaluation": self.scorer.evaluation.hash,
               "versions": measure.versions(), "lock": lock}  # fmt: skip
        if peer.lower() in peers.LIBRARIES:
            key["script"] = content_hash(peers.script(peer.lower()))  # how the library is called
        return measure.cached(
            "quality", key, lambda: self.scorer.score(theirs.weights(peer, case, self.inputs))
        ).value


def summary(scores: dict[str, list[float]]) -> dict[str, float]:
    """Return mean KL (nats) and perplexity over all windows."""
    return {"kl": mean(scores["kl"]), "perplexity": math.exp(mean(scores["nll"]))}


def mean(values: list[float]) -> float:
    """Return the arithmetic mean; windows are of one length, so it is also the mean over tokens."""
    return sum(values) / len(values)


def met(ratio: Any, must_win: bool) -> bool:
    """Say whether a ratio passes: interval up to 1.05 and, where asked for, the estimate below 1."""
    return ratio.high <= HIGHEST and (ratio.value < 1 or not must_win)


def line(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the printed table."""
    cells = {peer: row["peers"].get(peer, {}).get("kl") for peer in PEERS}
    low, high = row.get("interval", (float("nan"), float("nan")))
    return {"format": row["format"], "KL ours": row["ours"]["kl"], **cells, "ratio": row.get("ratio"),
            "95%": f"{low:.3f}..{high:.3f}", "met": row.get("met"),
            "ppl ours": row["ours"]["perplexity"]}  # fmt: skip


if __name__ == "__main__":
    typer.run(bench)
