"""What `qcourse serve` does around an engine: choose it, check the artefact, start it, wait for its end."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError

ENGINES = ("vllm", "llama.cpp")


def checked_engine(
    path: Path, asked: str | None, kv_cache_dtype: str = "auto", tensor_parallel: int = 1
) -> str:
    """Return the engine for an artefact; QCourseError if it cannot load or split it, or is unknown."""
    from qcourse.recipe import check_engine
    from qcourse.recipe.record import find_record

    engine = asked or ("llama.cpp" if path.suffix == ".gguf" else "vllm")
    if engine not in ENGINES:
        raise QCourseError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}")
    if kv_cache_dtype != "auto" and engine != "vllm":
        raise QCourseError(
            f"--kv-cache-dtype {kv_cache_dtype} is vLLM's; llama.cpp has no FP8 cache: leave it out"
        )
    if path.suffix == ".gguf" and engine == "vllm":
        raise QCourseError("vllm does not read GGUF files; use --engine llama.cpp")
    if path.is_dir() and engine == "llama.cpp":
        raise QCourseError(
            f"llama.cpp reads .gguf files, {path} is a folder; use --engine vllm or write a gguf"
        )
    record = find_record(path)
    if record is not None and record.recipe is not None:
        check_engine(record.recipe, record.format, engine)
    if tensor_parallel != 1:
        check_parallel(path, engine, tensor_parallel, record)
    return engine


def check_parallel(path: Path, engine: str, devices: int, record: Any) -> None:
    """Raise QCourseError, with the arithmetic, where the devices cannot share the model."""
    from qcourse import models
    from qcourse.plan.parallel import check_split

    if engine != "vllm":
        raise QCourseError(f"--tensor-parallel is vLLM's; {engine} here runs on one device: leave it out")
    check_split(models.shape(str(path)), record.recipe if record else None, devices)


def wait(server: Any) -> None:
    """Return when the process is asked to end; QCourseError if the engine ends by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while server.process.running:
        time.sleep(0.5)
    raise QCourseError(f"{server.engine} ended by itself; {server.log} has its last words")


def start(path: Path | str, engine: str, kv_cache_dtype: str = "auto", port: int | None = None,
          api_key: str | None = None, tensor_parallel: int = 1) -> Any:  # fmt: skip
    """Return the context manager that runs the engine's server."""
    from qcourse import models, serve

    if engine == "llama.cpp":
        return serve.llama_cpp(path, port=port, api_key=api_key)
    extra = ("--tensor-parallel-size", str(tensor_parallel)) if tensor_parallel > 1 else ()
    return serve.vllm(models.resolve(path), kv_cache_dtype, port, api_key=api_key, extra=extra)
