"""Train pico-2: `python -m qcourse.pico.train`; started again, it goes on.

The first start fetches the corpus (`--corpus FILE` names one that was carried over) and trains the
tokenizer. On a CUDA GPU when there is one, else on the CPU; the run may move between them. log.jsonl
in the folder of the run holds the curves, model/ the model and its card at the end.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from qcourse.common import cache_folder, write_json
from qcourse.pico.card import metrics, perplexity
from qcourse.pico.curriculum import TOKENS, Stage, Steps, stages
from qcourse.pico.export import export
from qcourse.pico.kneser_ney import KneserNey
from qcourse.pico.model import Shape
from qcourse.pico.optimizer import rate_at
from qcourse.pico.readme import model_card, read_log
from qcourse.pico.rows import Source
from qcourse.pico.run import Run, arithmetic, device, half, start
from qcourse.pico.source import QUESTIONS, load_source
from qcourse.pico.step import by_kind, train_step

WARMUP = 20  # steps of each stage
SAVE_SECONDS = 600
EVALUATE_STEPS = 200
CURVE_TOKENS = 16_384  # held-out tokens of each point of the curve


def train(
    run: Run, plan: tuple[Stage, ...], source: Source, folder: Path, seed: int = 1, compiled: bool = False,
    stop_after: int | None = None, held_out: list[int] | None = None
) -> Run:  # fmt: skip
    """Go through the stages from where the run is, logging to folder/log.jsonl; save at least every stage.

    It saves and returns after `stop_after` steps. held_out: ids whose perplexity joins the log.
    """
    forward = torch.compile(run.model, dynamic=False) if compiled else run.model
    workers = min(12, os.cpu_count() or 1) if device(run.model).type == "cuda" else 0
    taken, saved = 0, time.monotonic()
    while run.stage < len(plan):
        stage = plan[run.stage]
        for batch in batches(stage, run, source, seed, workers):
            begun = time.perf_counter()
            rate = rate_at(run.step, stage.steps, stage.first, stage.last, WARMUP)
            means = by_kind(train_step(run, forward, batch, rate), batch)
            run.step, taken = run.step + 1, taken + 1
            seconds = round(time.perf_counter() - begun, 3)
            if held_out and (run.step % EVALUATE_STEPS == 0 or run.step == stage.steps):
                means["held_out_perplexity"] = perplexity_of(run.model, held_out)
            position = {"stage": stage.name, "step": run.step, "tokens": batch.ids.numel()}
            log(folder, position | {"rate": round(rate, 6), "seconds": seconds, **means})
            if taken == stop_after or time.monotonic() - saved > SAVE_SECONDS:
                run.save(folder)
                saved = time.monotonic()
            if taken == stop_after:
                return run
        run.stage, run.step = run.stage + 1, 0
        run.save(folder)
    return run


def batches(stage: Stage, run: Run, source: Source, seed: int, workers: int = 0):
    """Return the batches that the run still has to see of a stage, drawn by `workers` other processes."""
    from tqdm import tqdm

    rest = DataLoader(Steps(stage, run.step, source, seed), batch_size=None, num_workers=workers)
    return tqdm(rest, desc=stage.name, initial=run.step, total=stage.steps, mininterval=20)


def perplexity_of(model: nn.Module, ids: list[int]) -> float:
    """Return the perplexity of ids in windows, as the model card measures it."""
    with arithmetic(device(model)):
        return round(perplexity(lambda piece: model.logits(model(piece)), ids, device(model)), 3)


def log(folder: Path, row: dict) -> None:
    """Append one line to the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def begin(run: Run, source: Source, held_out: list[int], folder: Path) -> None:
    """Log what is trained on what, and what a 5-gram of the same text has on the held-out tokens."""
    place = device(run.model)
    counted = KneserNey(source.stream, source.vocabulary)
    row = {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "device": torch.cuda.get_device_name() if place.type == "cuda" else "cpu",
        "arithmetic": str(half(place)).removeprefix("torch."),
        "prose_tokens": len(source.stream),
        "held_out_tokens": len(held_out),
        "kneser_ney_perplexity": round(counted.perplexity(held_out), 3),
        "kneser_ney_perplexity_of_curve": round(counted.perplexity(held_out[:CURVE_TOKENS]), 3),
    }
    print(json.dumps(row), file=sys.stderr)
    log(folder, row)


def write_card(folder: Path, source: Source, plan: tuple[Stage, ...]) -> None:
    """Ask the trained model the frozen questions; write metrics.json and README.md beside it."""
    figures = metrics(folder / "model", questions=QUESTIONS, training=source.documents)
    write_json(folder / "model" / "metrics.json", figures)
    (folder / "model" / "README.md").write_text(model_card(figures, read_log(folder), plan, Shape()))


def options() -> argparse.Namespace:
    """Return what the command line says."""
    home = cache_folder() / "pico-2"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=home, help=f"folder of the run ({home})")
    parser.add_argument("--corpus", type=Path, help="the documents, made if absent (OUTPUT/corpus.jsonl.gz)")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"how long ({TOKENS:,})")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train pico-2 from the beginning, or go on with the run in --output."""
    chosen = options()
    folder, plan = chosen.output, stages(chosen.tokens)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    source, held_out = load_source(chosen.corpus or folder / "corpus.jsonl.gz", folder / "tokenizer")
    run = start(Shape(), chosen.seed, source, "cuda" if torch.cuda.is_available() else "cpu")
    run.load(folder)
    begin(run, source, held_out, folder)
    compiled = any(map(shutil.which, ("g++", "gcc")))
    train(run, plan, source, folder, chosen.seed, compiled, held_out=held_out[:CURVE_TOKENS])
    export(run.model, folder / "tokenizer", folder / "model")
    write_card(folder, source, plan)
    print(folder / "model")


if __name__ == "__main__":
    main()
