"""A running vLLM, spoken to over HTTP: its log-probabilities and what it reports of itself."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qcourse.common import content_hash, read_config
from qcourse.common.gguf_files import served_name
from qcourse.serve.engine_report import EngineReport, check_kv_cache, check_vllm, vllm_report
from qcourse.serve.metrics import metrics
from qcourse.serve.process import ServerProcess
from qcourse.serve.server import Server
from qcourse.serve.vllm_install import VLLM, weight_kind
from qcourse.serve.vllm_logits import from_page, full_logits, of_rows

if TYPE_CHECKING:
    from torch import Tensor


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


def has_chat_template(folder: Path) -> bool:
    """Return whether the folder brings a chat template."""
    settings = folder / "tokenizer_config.json"
    inside = settings.exists() and '"chat_template"' in settings.read_text(encoding="utf-8")
    return inside or (folder / "chat_template.jinja").exists()
