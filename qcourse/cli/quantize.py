"""qcourse quantize: a model in, an artefact out."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

Method = Annotated[str | None, typer.Option(help="gptq, awq, rtn, nf4, int8, smoothquant, fp8, gguf, ...")]
Symmetric = Annotated[bool | None, typer.Option("--sym/--no-sym", help="symmetric grid, or with zero points")]
DescAct = Annotated[bool | None, typer.Option("--desc-act", help="GPTQ: columns by falling importance")]
CalibrationText = Annotated[
    Path | None,
    typer.Option(help="text or JSONL file, or hub:ORG/NAME[/CONFIG][:SPLIT][:COLUMN]; default: ours"),
]
AllExperts = Annotated[
    bool,
    typer.Option(
        "--calibrate-all-experts",
        help="mixtures of experts: calibrate every expert on every token, not only on those its router sends",
    ),
]
BitBudget = Annotated[
    float | None, typer.Option(help="mixed widths: average stored bits a quantized weight, with scales")
]
KVCacheType = Annotated[
    str | None, typer.Option(help="fp8: store calibrated scales of the KV cache, which vLLM serves by")
]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="GGUF: other types where the type's blocks do not fit")
]


def command(
    model: Annotated[str, typer.Argument(help="pico, smollm2, a folder, or a hub id")],
    output: Annotated[Path, typer.Option(help="the artefact: a folder, or a .gguf file")],
    method: Method = None,
    bits: Annotated[int | None, typer.Option(help="bits a weight")] = None,
    group_size: Annotated[int | None, typer.Option(help="columns per scale; -1: one scale a row")] = None,
    sym: Symmetric = None,
    desc_act: DescAct = None,
    recipe: Annotated[str | None, typer.Option(help="a recipe's name, or its JSON file")] = None,
    revision: Annotated[str | None, typer.Option(help="revision of a hub model")] = None,
    format: Annotated[str | None, typer.Option(help="file format; default: the method's usual one")] = None,
    calibration: CalibrationText = None,
    calibrate_all_experts: AllExperts = False,
    bit_budget: BitBudget = None,
    kv_cache_dtype: KVCacheType = None,
    allow_fallback: AllowFallback = False,
    stream: Annotated[bool, typer.Option("--stream", help="one decoder layer in memory at a time")] = False,
) -> None:
    """Quantize MODEL and write an artefact that an engine loads; nothing is left half-written."""
    from qcourse.cli.options import Answer, chosen_format, chosen_recipe, output_place
    from qcourse.measure import bits_per_weight
    from qcourse.pipeline import Calibration, build
    from qcourse.recipe.record import read_record

    changes = {"bits": bits, "group_size": group_size, "symmetric": sym, "desc_act": desc_act or None}
    wanted = chosen_recipe(method, recipe, changes)
    form = chosen_format(wanted, format)
    text = Calibration(calibration, all_experts=calibrate_all_experts)
    made = build(model, wanted, form, output_place(output, form), revision=revision,
                 calibration=text if calibration or calibrate_all_experts else None, stream=stream,
                 bit_budget=bit_budget, kv_cache_dtype=kv_cache_dtype,
                 allow_fallback=allow_fallback)  # fmt: skip
    name = read_record(made).name
    stored = f", {bits_per_weight(made).bits_per_weight:.2f} bits a weight" if allow_fallback else ""
    return Answer(
        f"{made}: {name} as {form}{stored}; qcourse ship {shlex.quote(str(made))} says how to serve it"
    )
