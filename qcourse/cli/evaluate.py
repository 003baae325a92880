"""qcourse eval: one model measured by the one yardstick."""

from pathlib import Path
from typing import Annotated

import typer

from qcourse.cli.options import show


def command(
    model: Annotated[
        str, typer.Argument(help="pico, a folder, a hub id, a .gguf file, or the URL of a server")
    ],
    baseline: Annotated[
        str | None, typer.Option(help="the unquantized model, for the divergence from it")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="a text file instead of the course's held-out prose")
    ] = None,
    items: Annotated[int, typer.Option(help="questions a skill; 0: none")] = 50,
    windows: Annotated[int, typer.Option(help="windows of 512 tokens")] = 16,
    json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """Measure perplexity, divergence from --baseline, top-1 agreement and the skills, with 95% intervals."""
    from qcourse.cli.measuring import measure

    row = measure(model, baseline, text, items, windows)
    show(row, json, describe(row))


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
