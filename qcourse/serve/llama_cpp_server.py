"""llama.cpp as its own process: it crashes on some machines, and a crash must not take a notebook along."""

import os
import sys
from functools import cached_property
from importlib import util
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from qcourse.common import QCourseError, cache_folder
from qcourse.common.gguf_files import gguf_files, served_name
from qcourse.common.gguf_header import check_gguf_header
from qcourse.common.latency import Latency
from qcourse.serve.engine_report import EngineReport, check_kv_cache, llama_report
from qcourse.serve.keys import VARIABLE, chosen_key
from qcourse.serve.ports import choose_port
from qcourse.serve.process import ServerProcess
from qcourse.serve.server import Server
from qcourse.serve.timing import random_prompts

if TYPE_CHECKING:
    from torch import Tensor

WORKER = Path(__file__).with_name("llama_cpp_worker.py")
KV_TYPES = {"auto": "f16", "f16": "f16", "f32": "f32", "q8_0": "q8_0"}


class LlamaCppServer(Server):
    """A running llama.cpp: `url`, `client`, `log`, `logits(tokens)`, `generate(...)`, `stop()`."""

    engine = "llama.cpp"

    def __init__(
        self, path: Path, port: int, process: ServerProcess, kv_cache_dtype: str, threads: int,
        api_key: str = "",
    ) -> None:  # fmt: skip
        super().__init__(path, port, process, api_key)
        self.kv_cache_dtype, self.threads = kv_cache_dtype, threads
        self.dtype = path.stem

    @property
    def settings(self) -> tuple[str, ...]:
        """The type of the KV cache."""
        return (self.kv_cache_dtype,)

    def start(self, timeout: float, progress: bool) -> "LlamaCppServer":
        """Wait until the file is loaded, then ask what it is."""
        super().start(timeout, progress)
        info = self.http.get("/info").json()
        self.vocabulary, self.has_chat_template = info["vocabulary"], info["chat_template"]
        self.versions = {"llama_cpp_python": info["version"]}
        return self

    @cached_property
    def report(self) -> EngineReport:
        """The engine's own report of its KV cache."""
        return llama_report(self.log)

    def check_report(self) -> None:
        """Check that llama.cpp allocated the asked KV cache."""
        check_kv_cache(self.engine, self.kv_cache_dtype, self.report.kv_cache_dtype)

    def logits(self, tokens: "Tensor") -> "Tensor":
        """Return exact logits float32 [B, T, V] after each of the tokens int64 [B, T]."""
        import torch

        rows = []
        for window in tokens.tolist():
            content = self.post("/logits", tokens=window).content
            rows.append(np.frombuffer(content, dtype=np.float32).reshape(len(window), -1))
        return torch.from_numpy(np.stack(rows))

    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the ids of a prompt."""
        return self.post("/log_probabilities", start=start, rows=rows).json()

    def latency(self, batch: int, prompt_tokens: int, new_tokens: int, repeats: int = 3) -> Latency:
        """Return the times of `batch` prompts of which llama.cpp here runs one after another.

        The worker times its own tokens: random ones rarely make whole characters, and a stream of text
        brings only those.
        """
        runs = [self.times(batch, prompt_tokens, new_tokens, seed) for seed in range(repeats + 1)][1:]
        ttft, tpot = (median(column) for column in zip(*runs, strict=True))
        return Latency.of(batch, prompt_tokens, new_tokens, ttft, batch * tpot)

    def times(self, batch: int, prompt_tokens: int, new_tokens: int, seed: int) -> tuple[float, float]:
        """Return the median seconds to the first token, waiting included, and per further token."""
        prompts = random_prompts(self.vocabulary, batch, prompt_tokens, seed)
        runs = [self.post("/times", tokens=ids, new_tokens=new_tokens).json() for ids in prompts]
        waits = [sum(run[-1] for run in runs[:index]) for index in range(batch)]
        ttft = median(wait + run[0] for wait, run in zip(waits, runs, strict=True))
        return ttft, median((run[-1] - run[0]) / (new_tokens - 1) for run in runs)


def llama_cpp(
    gguf: Path | str,
    kv_cache_dtype: str = "auto",
    port: int | None = None,
    context: int = 2048,
    *,
    threads: int | None = None,
    api_key: str | None = None,
    timeout: float = 120,
    progress: bool = True,
) -> LlamaCppServer:
    """Start llama.cpp on a GGUF file and return the server once it answers; use it in a `with` block.

    kv_cache_dtype: "auto" (f16), "f32" or "q8_0"; threads: default OMP_NUM_THREADS or all;
    api_key: default a random one, "" for none.
    Raises QCourseError: no GGUF file, port taken, llama-cpp-python not installed, a file it cannot load.
    """
    files = gguf_files(Path(gguf).absolute())
    for file in files:
        check_gguf_header(file)
    path = files[0] if len(files) > 1 else files[0].resolve()
    check_engine(kv_cache_dtype)
    number = choose_port(port)
    count = threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count()
    command = [
        sys.executable, str(WORKER), "--model", str(path), "--name", served_name(path),
        "--kv", KV_TYPES[kv_cache_dtype], "--port", str(number), "--context", str(context),
        "--threads", str(count), "--verbose",
    ]  # fmt: skip
    log = cache_folder() / "logs" / f"llama-cpp-{number}.log"
    key = chosen_key(api_key)
    process = ServerProcess("llama.cpp", command, {**os.environ, VARIABLE: key}, log)
    server = LlamaCppServer(path, number, process, KV_TYPES[kv_cache_dtype], count, key)
    return server.start(timeout, progress)


def check_engine(kv_cache_dtype: str) -> None:
    """Raise QCourseError for a KV cache that llama.cpp lacks here, and where it is not installed."""
    if kv_cache_dtype not in KV_TYPES:
        raise QCourseError(
            f"llama.cpp has no KV cache of {kv_cache_dtype} here; choose {', '.join(KV_TYPES)}"
        )
    if util.find_spec("llama_cpp") is None:
        raise QCourseError(
            "llama.cpp (llama-cpp-python) is not installed; `make main` builds it if there is a C++ compiler"
        )
