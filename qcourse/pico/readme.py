"""The model card of pico-2 as text, from its figures and its run's log."""

import json
from pathlib import Path

from qcourse.common import data_folder
from qcourse.common.templates import filled_in
from qcourse.pico.card import BARS, missed
from qcourse.pico.corpus import packages
from qcourse.pico.curriculum import Stage
from qcourse.pico.model import Shape


def shares(parts: dict) -> str:
    """Return "256 45%, 512 40%"."""
    return ", ".join(f"{name} {part:.0%}" for name, part in parts.items())


def read_log(folder: Path) -> dict:
    """Return what the log of a run says of it: its first line, and the tokens of all steps."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = {(line["stage"], line["step"]): line["tokens"] for line in lines if "stage" in line}
    return lines[0] | {"tokens": sum(steps.values()) / 1e6, "parameters": lines[0]["parameters"] / 1e6}


def model_card(figures: dict, run: dict, plan: tuple[Stage, ...], shape: Shape) -> str:
    """Return README.md. figures: what `card.metrics` returns; run: what `read_log` returns."""
    return filled_in(
        data_folder() / "cards" / "pico.md", figures=figures, run=run, plan=plan, shape=shape, bars=BARS,
        missed=missed(figures), ratio=figures["perplexity"] / figures["kneser_ney_perplexity"],
        distances=sorted(figures["recall_by_distance"].items(), key=lambda pair: int(pair[0])),
        shares=shares, names=names,
    )  # fmt: skip


def names(held_out: bool) -> str:
    """Return the packages that are, or are not, held out, each with its version and licence."""
    return ", ".join(
        f"{package['name']} {package['version']} ({package['licence']})"
        for package in packages()
        if package.get("held_out", False) == held_out
    )
