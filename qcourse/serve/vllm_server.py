"""vLLM as its own process, spoken to over HTTP, on CPU or GPU."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qcourse.common import QCourseError, cache_folder, content_hash, read_config
from qcourse.serve.metrics import metrics
from qcourse.serve.ports import HOST, choose_port
from qcourse.serve.process import ServerProcess
from qcourse.serve.server import Server
from qcourse.serve.vllm_adapter import adapter_options
from qcourse.serve.vllm_install import VLLM, check_machine, check_recipe, find_vllm
from qcourse.serve.vllm_logits import from_page, full_logits

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
    ) -> None:
        super().__init__(path, port, process)
        self.asked_kv, self.dtype, self.adapter, self.extra = asked_kv, dtype, adapter, extra
        self.model = "model" if adapter is None else "adapter"
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

    def start(self, timeout: float, progress: bool) -> "VLLMServer":
        """Wait for the engine, then check that it took the asked KV cache and did not reset it in silence."""
        super().start(timeout, progress)
        if self.asked_kv != "auto" and self.asked_kv.split("_")[0] not in self.kv_cache_dtype:
            found = self.kv_cache_dtype
            self.stop()
            raise QCourseError(
                f"vLLM reports a KV cache of {found}, not the asked {self.asked_kv}; "
                "this build or machine cannot do it, so serve with kv_cache_dtype='auto'"
            )
        return self


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
    timeout: float = 600,
    progress: bool = True,
) -> VLLMServer:
    """Start vLLM on a checkpoint folder and return the server once it answers; use it in a `with` block.

    max_model_len: default the model's context, at most 2,048; kv_space: GiB of KV cache on a CPU;
    threads: of the CPU build, default OMP_NUM_THREADS or all; adapter: a folder in peft's format, served
    unmerged beside the model; extra: further options of vLLM's own.
    Raises QCourseError: no such folder, port taken, vLLM not installed, a CPU without the needed kernels,
    a recipe it cannot load, or an engine that dies while starting (with its own reason).
    """
    folder = Path(path).resolve()
    config = read_config(folder)
    install = find_vllm()
    check_recipe(folder)
    check_machine(config, kv_cache_dtype, install)
    number = choose_port(port)
    length = max_model_len or min(LONGEST, config.get("max_position_embeddings", LONGEST))
    command = [
        str(install.python), "-m", "vllm.entrypoints.openai.api_server", *FIXED_OPTIONS,
        "--model", str(folder), "--served-model-name", "model", "--host", HOST, "--port", str(number),
        "--dtype", dtype, "--max-model-len", str(length), "--kv-cache-dtype", kv_cache_dtype,
        *adapter_options(adapter), *extra,
    ]  # fmt: skip
    log = cache_folder() / "logs" / f"vllm-{number}.log"
    process = ServerProcess("vLLM", command, environment(kv_space, threads), log)
    tuned = None if adapter is None else Path(adapter).resolve()
    server = VLLMServer(folder, number, process, install, kv_cache_dtype, dtype, tuned, tuple(extra))
    return server.start(timeout, progress)


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
