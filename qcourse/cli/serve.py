"""qcourse serve: an artefact behind an OpenAI-compatible address."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    artefact: Annotated[str, typer.Argument(help="pico, an artefact folder, or a .gguf file")],
    engine: Annotated[str | None, typer.Option(help="vllm or llama.cpp; default: by the file")] = None,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto or fp8 (vllm)")] = "auto",
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 8000,
) -> None:
    """Serve until interrupted; refuses what the engine cannot load before it starts."""
    from qcourse.cli.serving import checked_engine, start, wait

    path = Path(artefact)
    chosen = checked_engine(path, engine, kv_cache_dtype)
    with start(path if path.exists() else artefact, chosen, kv_cache_dtype, port) as server:
        print(f"{server.url} serves {artefact} with {chosen}; Ctrl-C stops it", flush=True)
        wait(server)
