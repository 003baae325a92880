"""qcourse convert: a GGUF file in, a Hugging Face folder out."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[Path, typer.Argument(help="a .gguf file of a Llama, Mistral, Qwen2 or Qwen3 model")],
    target: Annotated[Path, typer.Argument(help="the folder to write")],
) -> None:
    """Write the model inside a GGUF file as a bf16 folder: configuration, weights and tokenizer."""
    from qcourse.cli.options import output_place
    from qcourse.pipeline.convert import convert

    made = convert(source, output_place(target, "merged"))
    print(
        f"{made}: the weights of {source.name} in bf16; qcourse eval {shlex.quote(str(made))} measures them"
    )
