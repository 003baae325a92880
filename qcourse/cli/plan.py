"""qcourse plan: what a model needs on a device."""

from typing import TYPE_CHECKING, Annotated

import typer

from qcourse.cli.options import Answer, AsJson, answer, recipe_of

if TYPE_CHECKING:
    from qcourse.plan.chooser import Lane

Model = Annotated[
    str, typer.Argument(help="pico, smollm2, a folder, a hub id, or a name from data/models.yaml")
]
Device = Annotated[str | None, typer.Option(help="a name (L4, H100...), cpu, or 24GB; default: this machine")]
RecipeName = Annotated[
    str | None,
    typer.Option(help="a name or JSON file; default: as published, and every lane below it"),
]
Context = Annotated[int | None, typer.Option(help="tokens a sequence; default: 4096 or the model's limit")]
Workload = Annotated[
    str, typer.Option(help="chat, code, long context, batch, latency or edge: orders the lanes")
]
Floor = Annotated[
    float | None, typer.Option(help="lowest top-1 agreement with bf16 that is good enough, 0 to 1")
]


def command(
    model: Model,
    gpu: Device = None,
    recipe: RecipeName = None,
    context: Context = None,
    batch: Annotated[int, typer.Option(help="sequences at once")] = 1,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, fp8, ...")] = "auto",
    tensor_parallel: Annotated[int, typer.Option(help="devices that share the model")] = 1,
    workload: Workload = "chat",
    floor: Floor = None,
    json: AsJson = False,
) -> Answer:
    """Show weights, KV cache, whether they fit, bounds on speed, and which lanes this device can run."""
    from qcourse.plan import lanes, plan

    made = plan(
        model, gpu, recipe_of(recipe) if recipe else None, context, batch, kv_cache_dtype, tensor_parallel
    )
    text = str(made)
    if recipe is None and not json:
        text += ranked(lanes(model, made.device, context, batch, workload, floor, tensor_parallel), workload)
    return answer(made.to_dict(), json, text)


def ranked(found: list["Lane"], workload: str) -> str:
    """Return the lanes, one a line, and why the first one is first."""
    from qcourse.plan.chooser import rank_reason

    lines = [f"\n\nlanes for {workload}, the recommended one first:"]
    for lane in found:
        size = f"{lane.plan.total_bytes / 1e9:8.2f} GB"
        lines.append(
            f"  {'yes' if lane.works else 'no ':3} {lane.recipe:22} {lane.engine:12} {size}  {lane.reason}"
        )
    return "\n".join([*lines, "", f"why: {rank_reason(workload)}", found[0].explain()])
