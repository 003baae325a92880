"""qcourse eval: one model measured by the one yardstick."""

from pathlib import Path
from typing import Annotated

import typer

from qcourse.cli.options import Answer, ApiKey, AsJson, answer
from qcourse.common.display import interval


def command(
    model: Annotated[
        str, typer.Argument(help="pico, smollm2, a folder, a hub id, a .gguf file, or a server's URL")
    ],
    baseline: Annotated[str | None, typer.Option(help="the unquantized model, to diverge from")] = None,
    text: Annotated[Path | None, typer.Option(help="a text file instead of the held-out prose")] = None,
    items: Annotated[int | None, typer.Option(help="questions a skill; default 50; 0: none")] = None,
    windows: Annotated[int, typer.Option(help="windows of text")] = 16,
    context: Annotated[int, typer.Option(help="tokens a window")] = 512,
    tasks: Annotated[
        str | None, typer.Option(help="of lm-evaluation-harness, comma-separated: names or .yaml files")
    ] = None,
    chat: Annotated[bool, typer.Option(help="with --tasks: prompts pass through the chat template")] = False,
    api_key: ApiKey = None,
    json: AsJson = False,
) -> Answer:
    """Measure perplexity, divergence from --baseline, top-1 agreement and the skills, with 95% intervals.

    --tasks runs lm-evaluation-harness instead: scores, and against --baseline recovery and flips.
    `qcourse eval pico` alone asks all 200 questions a skill and writes the model card's figures.
    """
    from qcourse.pico.card import model_card
    from qcourse.pipeline.evaluate import measure

    if tasks:
        from qcourse.pipeline.harness import measure_tasks

        found = measure_tasks(model, baseline, tasks.split(","), items, chat, api_key)
        return answer(found, json, describe_tasks(found))
    if (model, baseline, text, items) == ("pico", None, None, None):
        card = model_card()
        return answer(card, json, describe_card(card))
    row = measure(model, baseline, text, 50 if items is None else items, windows, context, api_key)
    return answer(row, json, describe(row))


def describe_card(card: dict) -> str:
    """Return the model card's figures as lines."""
    head = f"  {'perplexity':<16} {card['perplexity']:.4g} (5-gram: {card['kneser_ney_perplexity']:.4g})"
    return "\n".join([head, *(skill_line(*entry, entry[1]["n"]) for entry in card["skills"].items())])


def describe_tasks(found: dict) -> str:
    """Return the scores of tasks as lines, with what changed against the baseline."""
    lines = []
    for task, metrics in found["tasks"].items():
        for metric, row in metrics.items():
            line = f"  {task} {metric}: {row['score']:.4g} of {row['n']} questions"
            if row.get("recovery") is not None:
                line += f", baseline {row['baseline']:.4g}, recovery {row['recovery']:.1f}%"
            if "p" in row:
                line += f", {row['lost']} lost, {row['gained']} gained, p = {row['p']:.2g}"
            lines.append(line)
    return "\n".join([*lines, f"samples: {found['samples']}"])


def describe(row: dict) -> str:
    """Return a row's figures as lines, each with its interval."""
    lines = [f"{row['recipe']} in {row['engine']}, {row['evaluated_tokens']:,} tokens"]
    for name, unit in (("perplexity", ""), ("kl_mean", " nats"), ("kl_p99", " nats")):
        if row.get(name) is not None:
            lines.append(f"  {name:<16} {row[name]:.5g}{unit} {interval(row['intervals'].get(name))}")
    if row.get("top1_agreement") is not None:
        agreement = {"accuracy": row["top1_agreement"], "interval": row["intervals"].get("top1_agreement")}
        lines.append(skill_line("top1_agreement", agreement))
    lines += [skill_line(*entry, row["n_items"]) for entry in row["skills"].items()]
    for name, each in row.get("flips", {}).items():
        flipped = f"{each['lost']} lost, {each['gained']} gained of {each['n']}, p = {each['p']:.2g}"
        lines.append(f"  {name:<16} {flipped} (a loss below {each['smallest_loss']:.0%} would not show)")
    return "\n".join(lines)


def skill_line(name: str, entry: dict | str, n: int | None = None) -> str:
    """Return one share with its interval and the items behind it, or the word that says why it has none."""
    if isinstance(entry, str):
        return f"  {name:<16} {entry}"
    items = "" if n is None else f" n={n}"
    return f"  {name:<16} {entry['accuracy']:.1%} {interval(entry['interval'], share=True)}{items}"
