"""qcourse convert: a GGUF file becomes a bf16 folder, a quantized folder one of another format."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[
        Path, typer.Argument(help="a .gguf file, or a GPTQ, AWQ or compressed-tensors folder of anyone")
    ],
    target: Annotated[Path, typer.Argument(help="the folder to write")],
    form: Annotated[
        str, typer.Option("--format", help="of a quantized folder: gptq, gptq_v2, awq or compressed-tensors")
    ] = "compressed-tensors",
) -> None:
    """Write a GGUF's model as a bf16 folder, or a quantized folder's codes, unchanged, in another format."""
    from qcourse.cli.options import output_place
    from qcourse.pipeline.convert import convert, rewrite

    place = output_place(target, form)
    if source.is_dir():
        made, said = rewrite(source, place, form), f"the codes and scales of {source.name} as {form}"
    else:
        made, said = convert(source, place), f"the weights of {source.name} in bf16"
    print(f"{made}: {said}; qcourse eval {shlex.quote(str(made))} measures them")
