"""qcourse plan: what a model needs on a device."""

from typing import Annotated

import typer

from qcourse.cli.options import Answer, answer, recipe_of


def command(
    model: Annotated[
        str, typer.Argument(help="pico, smollm2, a folder, a hub id, or a name from data/models.yaml")
    ],
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
    workload: Annotated[
        str, typer.Option(help="chat, code, long context, batch, latency or edge: orders the lanes")
    ] = "chat",
    floor: Annotated[
        float | None, typer.Option(help="lowest top-1 agreement with bf16 that is good enough, 0 to 1")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> Answer:
    """Show weights, KV cache, whether they fit, bounds on speed, and which lanes this device can run."""
    from qcourse.plan import lanes, plan
    from qcourse.plan.chooser import rank_reason

    made = plan(
        model, gpu, recipe_of(recipe) if recipe else None, context, batch, kv_cache_dtype, tensor_parallel
    )
    text = [str(made)]
    if recipe is None and not json:
        found = lanes(model, made.device, context, batch, workload, floor, tensor_parallel)
        text += ["", f"lanes for {workload}, the recommended one first:"]
        text += [
            f"  {'yes' if lane.works else 'no ':3} {lane.recipe:22} {lane.engine:12} "
            f"{lane.plan.total_bytes / 1e9:8.2f} GB  {lane.reason}"
            for lane in found
        ]
        text += ["", f"why: {rank_reason(workload)}", found[0].explain()]
    return answer(made.to_dict(), json, "\n".join(text))
