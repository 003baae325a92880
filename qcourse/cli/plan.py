"""qcourse plan: what a model needs on a device."""

from typing import Annotated

import typer

from qcourse.cli.options import Answer, answer, recipe_of


def command(
    model: Annotated[str, typer.Argument(help="pico, a folder, a hub id, or a name from data/models.yaml")],
    gpu: Annotated[
        str | None, typer.Option(help="a name (L4, H100...), cpu, or 24GB; default: this machine")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="a name or JSON file; default: as published, and every lane below it"),
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="tokens a sequence; default: 4096 or the model's limit")
    ] = None,
    batch: Annotated[int, typer.Option(help="sequences at once")] = 1,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, fp8, ...")] = "auto",
    tensor_parallel: Annotated[int, typer.Option(help="devices that share the model")] = 1,
    json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> Answer:
    """Show weights, KV cache, whether they fit, bounds on speed, and which lanes this device can run."""
    from qcourse.plan import lanes, plan

    made = plan(model, gpu, recipe_of(recipe or "bf16"), context, batch, kv_cache_dtype)
    text = [str(made)]
    if recipe is None and not json:
        text += ["", "lanes, the recommended one first:"]
        text += [
            f"  {'yes' if lane.works else 'no ':3} {lane.recipe:22} {lane.engine:12} "
            f"{lane.plan.total_bytes / 1e9:8.2f} GB  {lane.reason}"
            for lane in lanes(model, made.device, context, batch)
        ]
    return answer(made.to_dict(), json, "\n".join(text))
