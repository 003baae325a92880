"""qcourse serve: an artefact behind an OpenAI-compatible address."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    artefact: Annotated[str, typer.Argument(help="pico, an artefact folder, or a .gguf file")],
    engine: Annotated[str | None, typer.Option(help="vllm or llama.cpp; default: by the file")] = None,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto or fp8 (vllm)")] = "auto",
    tensor_parallel: Annotated[int, typer.Option(help="devices that share the model (vllm)")] = 1,
    api_key: Annotated[
        str | None, typer.Option(envvar="QCOURSE_API_KEY", help="default: a random one; '' for none")
    ] = None,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 8000,
) -> None:
    """Serve on this machine until interrupted; refuses what the engine cannot load before it starts."""
    from qcourse.cli.serving import checked_engine, start, wait

    path = Path(artefact)
    chosen = checked_engine(path, engine, kv_cache_dtype, tensor_parallel)
    with start(
        path if path.exists() else artefact, chosen, kv_cache_dtype, port, api_key, tensor_parallel
    ) as server:
        if server.api_key and api_key is None:
            print(f"API key: {server.api_key}", file=sys.stderr, flush=True)
        print(f"{server.url} serves {server.model} with {chosen}; Ctrl-C stops it", flush=True)
        wait(server)
