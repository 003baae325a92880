"""qcourse eval: one model measured by the one yardstick."""

from pathlib import Path
from typing import Annotated

import typer

from qcourse.cli.options import Answer, answer


def command(
    model: Annotated[str, typer.Argument(help="pico, a folder, a hub id, a .gguf file, or a server's URL")],
    baseline: Annotated[str | None, typer.Option(help="the unquantized model, to diverge from")] = None,
    text: Annotated[Path | None, typer.Option(help="a text file instead of the held-out prose")] = None,
    items: Annotated[int | None, typer.Option(help="questions a skill; default 50; 0: none")] = None,
    windows: Annotated[int, typer.Option(help="windows of text")] = 16,
    context: Annotated[int, typer.Option(help="tokens a window")] = 512,
    json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> Answer:
    """Measure perplexity, divergence from --baseline, top-1 agreement and the skills, with 95% intervals.

    `qcourse eval pico` alone asks all 200 questions a skill and writes the model card's figures.
    """
    from qcourse.pico.card import model_card
    from qcourse.pipeline.evaluate import measure

    if (model, baseline, text, items) == ("pico", None, None, None):
        card = model_card()
        return answer(card, json, describe_card(card))
    row = measure(model, baseline, text, 50 if items is None else items, windows, context)
    return answer(row, json, describe(row))


def describe_card(card: dict) -> str:
    """Return the model card's figures as lines."""
    lines = [f"  {'perplexity':<16} {card['perplexity']:.4g} (5-gram: {card['kneser_ney_perplexity']:.4g})"]
    for skill, entry in card["skills"].items():
        lines.append(f"  {skill:<16} {entry['accuracy']:.1%} {interval(entry['interval'])} n={entry['n']}")
    return "\n".join(lines)


def describe(row: dict) -> str:
    """Return a row's figures as lines, each with its interval."""
    lines = [f"{row['recipe']} in {row['engine']}, {row['evaluated_tokens']:,} tokens"]
    for name, unit in (("perplexity", ""), ("kl_mean", " nats"), ("kl_p99", " nats"), ("top1_agreement", "")):
        if row.get(name) is not None:
            lines.append(f"  {name:<16} {row[name]:.5g}{unit} {interval(row['intervals'].get(name))}")
    for skill, entry in row["skills"].items():
        if isinstance(entry, str):
            lines.append(f"  {skill:<16} {entry}")
        else:
            lines.append(
                f"  {skill:<16} {entry['accuracy']:.1%} {interval(entry['interval'])} n={row['n_items']}"
            )
    return "\n".join(lines)


def interval(bounds: list[float] | None) -> str:
    """Return `[low, high]`, or nothing."""
    return f"[{bounds[0]:.4g}, {bounds[1]:.4g}]" if bounds else ""
