"""vLLM as its own process, spoken to over HTTP, on CPU or GPU."""

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qcourse.common import cache_folder, content_hash, read_config
from qcourse.common.gguf_files import served_name
from qcourse.serve.engine_report import EngineReport, check_kv_cache, check_vllm, vllm_report
from qcourse.serve.keys import chosen_key
from qcourse.serve.metrics import metrics
from qcourse.serve.ports import HOST, choose_port
from qcourse.serve.process import ServerProcess
from qcourse.serve.server import Server
from qcourse.serve.vllm_adapter import adapter_options
from qcourse.serve.vllm_install import VLLM, check_machine, check_recipe, find_vllm, weight_kind
from qcourse.serve.vllm_logits import from_page, full_logits, of_rows

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 2048
INSIDE = Path(__file__).with_name("inside_vllm")
FIXED_OPTIONS = (
    "--enforce-eager", "--max-logprobs", "-1", "--generation-config", "vllm",
    "--middleware", "log_probabilities.LogProbabilities",
)  # fmt: skip


class VLLMServer(Server):
    """A running vLLM: `url`, `client`, `log`, `logits(tokens)`, `kv_cache_dtype`, `kv_blocks`, `stop()`."""

    engine = "vllm"

    def __init__(
        self,
        path: Path,
        port: int,
        process: ServerProcess,
        install: VLLM,
        asked_kv: str,
        dtype: str,
        adapter: Path | None = None,
        extra: tuple[str, ...] = (),
        api_key: str = "",
    ) -> None:
        super().__init__(path, port, process, api_key)
        self.asked_kv, self.dtype, self.adapter, self.extra = asked_kv, dtype, adapter, extra
        self.model = served_name(path) if adapter is None else "adapter"
        self.versions = {"vllm": install.version}
        self.vocabulary = read_config(path)["vocab_size"]
        self.has_chat_template = has_chat_template(path)

    @cached_property
    def cache_config(self) -> dict[str, str]:
        """The engine's own report of its KV cache: the labels of vllm:cache_config_info at /metrics."""
        return metrics(self.url).labels("vllm:cache_config_info")

    @property
    def kv_cache_dtype(self) -> str:
        """The type of the KV cache as the engine reports it, such as "auto" or "fp8"."""
        return self.cache_config["cache_dtype"]

    @property
    def kv_blocks(self) -> int:
        """How many blocks of KV cache the engine has."""
        return int(self.cache_config["num_gpu_blocks"])

    @property
    def kv_tokens(self) -> int:
        """How many tokens fit in the KV cache."""
        return self.kv_blocks * int(self.cache_config["block_size"])

    @property
    def settings(self) -> tuple[str, ...]:
        """The KV cache as the engine reports it, the dtype, the adapter's hash or "base", further options."""
        tuned = "base" if self.adapter is None else content_hash(self.adapter)[:16]
        return (self.kv_cache_dtype, self.dtype, tuned, *self.extra)

    def logits(self, tokens: "Tensor") -> "Tensor":
        """Return log-probabilities float32 [B, T, V] of the whole vocabulary after each token of [B, T]."""
        return full_logits(self, tokens, from_page)

    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the ids of a prompt."""
        return of_rows(self, start, rows)

    @cached_property
    def report(self) -> EngineReport:
        """The engine's own report: quantization, kernels of the linear layers, KV cache and its scales."""
        return replace(vllm_report(self.log), kv_cache_dtype=self.kv_cache_dtype)

    def check_report(self) -> None:
        """Check that vLLM runs the checkpoint's quantization and took the asked KV cache, not another one."""
        check_kv_cache("vLLM", self.asked_kv, self.report.kv_cache_dtype)
        config = read_config(self.path)
        check_vllm(self.report, config, weight_kind(config))


def vllm(
    path: Path | str,
    kv_cache_dtype: str = "auto",
    port: int | None = None,
    max_model_len: int | None = None,
    *,
    dtype: str = "bfloat16",
    kv_space: int = 1,
    threads: int | None = None,
    adapter: Path | str | None = None,
    extra: tuple[str, ...] = (),
    api_key: str | None = None,
    timeout: float = 600,
    progress: bool = True,
) -> VLLMServer:
    """Start vLLM on a checkpoint folder and return the server once it answers; use it in a `with` block.

    max_model_len: default the model's context, at most 2,048; kv_space: GiB of KV cache on a CPU;
    threads: of the CPU build, default OMP_NUM_THREADS or all; adapter: a folder in peft's format, served
    unmerged beside the model; extra: further options of vLLM's own; api_key: default a random one, "" for
    none, which vLLM reads from its environment: other users of the machine see command lines.
    Raises QCourseError: no such folder, port taken, vLLM not installed, a CPU without the needed kernels,
    a recipe it cannot load, or an engine that dies while starting (with its own reason).
    """
    folder, install = Path(path).resolve(), find_vllm()
    config = read_config(folder)
    check_recipe(folder)
    check_machine(config, kv_cache_dtype, install)
    number = choose_port(port)
    length = max_model_len or min(LONGEST, config.get("max_position_embeddings", LONGEST))
    command = [
        str(install.python), "-m", "vllm.entrypoints.openai.api_server", *FIXED_OPTIONS,
        *options(folder, number, dtype, length, kv_cache_dtype), *adapter_options(adapter), *extra,
    ]  # fmt: skip
    log = cache_folder() / "logs" / f"vllm-{number}.log"
    key = chosen_key(api_key)
    process = ServerProcess("vLLM", command, environment(kv_space, threads) | {"VLLM_API_KEY": key}, log)
    tuned = None if adapter is None else Path(adapter).resolve()
    server = VLLMServer(folder, number, process, install, kv_cache_dtype, dtype, tuned, tuple(extra), key)
    return server.start(timeout, progress)


def options(folder: Path, port: int, dtype: str, length: int, kv_cache_dtype: str) -> list[str]:
    """Return vLLM's options for a checkpoint, on this machine's own address."""
    return [
        "--model", str(folder), "--served-model-name", served_name(folder),
        "--host", HOST, "--port", str(port), "--dtype", dtype,
        "--max-model-len", str(length), "--kv-cache-dtype", kv_cache_dtype,
    ]  # fmt: skip


def environment(kv_space: int, threads: int | None) -> dict[str, str]:
    """Return the engine's environment: offline, no usage reports, of our own Python path only inside_vllm.

    VLLM_ENABLE_V1_MULTIPROCESSING=0 lets the model run inside the engine's process instead of in a third
    one: on two cores the start takes 15 s instead of 24, and a token half as long. vLLM keeps them apart to
    bind the threads of OpenMP, which OMP_NUM_THREADS does for a whole process here.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    count = threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count()
    return kept | {
        "PYTHONPATH": str(INSIDE), "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_space), "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(count), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip


def has_chat_template(folder: Path) -> bool:
    """Return whether the folder brings a chat template."""
    settings = folder / "tokenizer_config.json"
    inside = settings.exists() and '"chat_template"' in settings.read_text(encoding="utf-8")
    return inside or (folder / "chat_template.jinja").exists()
