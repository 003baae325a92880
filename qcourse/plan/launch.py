"""How to start an artefact in seven servers: the commands and the files they need.

`qcourse serve` starts vLLM and llama.cpp itself, with these flags. The others follow
their projects' documentation (read 2026-11-21), have not been run here, and say so.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.plan.templates import modelfile

SERVERS = ("vllm", "sglang", "tgi", "tensorrt-llm", "triton", "llama.cpp", "ollama")
GGUF_SERVERS = ("llama.cpp", "ollama")
NOT_IN = {  # (server, format): why
    (
        "tensorrt-llm",
        "gptq",
    ): "its PyTorch backend reads ModelOpt and FP8 checkpoints; serve the GPTQ file with vLLM",
    (
        "tensorrt-llm",
        "awq",
    ): "its PyTorch backend reads ModelOpt and FP8 checkpoints; serve the AWQ file with vLLM",
    ("tensorrt-llm", "bitsandbytes"): "it has no reader for bitsandbytes files",
    ("vllm", "bitsandbytes"): "bitsandbytes left vLLM's core for the plugin vllm-bnb-plugin",
    ("triton", "bitsandbytes"): "its vLLM backend has no bitsandbytes reader without vllm-bnb-plugin",
}
KV_FLAG = {
    "vllm": "--kv-cache-dtype {}", "sglang": "--kv-cache-dtype {}_e4m3", "tgi": "--kv-cache-dtype {}_e4m3fn",
    "llama.cpp": "--cache-type-k q8_0 --cache-type-v q8_0",
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """How a server is started: command, files to write ({name: text}), whether `serve` does it too."""

    server: str
    command: str
    files: dict[str, str]
    ours: bool

    def __str__(self) -> str:
        """Return the launch as text to read and to copy."""
        note = "" if self.ours else "   (from its documentation, not run here)"
        files = "".join(f"\n{name}:\n{text}" for name, text in self.files.items())
        return f"# {self.server}{note}\n{self.command}{files}"


def commands(path: Path | str, form: str, context: int = 4096, batch: int = 8, kv_cache_dtype: str = "auto",
             gpus: int = 1, port: int = 8000) -> list[Launch]:  # fmt: skip
    """Return the launches of the servers that read this format (see `launch` for one and for reasons)."""
    found = []
    for server in SERVERS:
        try:
            found.append(launch(server, path, form, context, batch, kv_cache_dtype, gpus, port))
        except QCourseError:
            continue
    return found


def launch(server: str, path: Path | str, form: str, context: int = 4096, batch: int = 8,
           kv_cache_dtype: str = "auto", gpus: int = 1, port: int = 8000) -> Launch:  # fmt: skip
    """Return how `server` is started on an artefact of format `form`.

    context: tokens a sequence; batch: sequences at once; gpus: tensor-parallel size.
    Raises QCourseError when the server does not read the format, naming one that does.
    """
    if server not in SERVERS:
        raise QCourseError(f"unknown server {server!r}; known are {', '.join(SERVERS)}")
    if (form == "gguf") != (server in GGUF_SERVERS):
        other = "llama.cpp or ollama" if form == "gguf" else "vllm, sglang, tgi or triton"
        raise QCourseError(f"{server} does not read {form} files; start this one with {other}")
    if reason := NOT_IN.get((server, form)):
        raise QCourseError(f"{server} does not load {form}: {reason}")
    where, kv = shlex.quote(str(path)), ""
    if kv_cache_dtype != "auto":
        if server not in KV_FLAG:
            raise QCourseError(
                f"{server} has no launch flag for a {kv_cache_dtype} KV cache here; use vllm or sglang"
            )
        kv = " " + KV_FLAG[server].format(kv_cache_dtype)
    text = (
        COMMANDS[server].format(path=where, context=context, batch=batch, gpus=gpus, port=port, form=form)
        + kv
    )
    files = FILES.get(server, lambda *_: {})(path, context, batch, gpus)
    return Launch(server, text, files, server in ("vllm", "llama.cpp"))


COMMANDS = {
    "vllm": "vllm serve {path} --max-model-len {context} --max-num-seqs {batch} "
            "--tensor-parallel-size {gpus} --port {port}",
    "sglang": "python -m sglang.launch_server --model-path {path} --context-length {context} "
              "--max-running-requests {batch} --tp {gpus} --port {port}",
    "tgi": "docker run --gpus all --shm-size 1g -p {port}:80 -v {path}:/model "
           "ghcr.io/huggingface/text-generation-inference --model-id /model "
           "--max-total-tokens {context} --max-concurrent-requests {batch} --num-shard {gpus}",
    "tensorrt-llm": "trtllm-serve {path} --backend pytorch --max_seq_len {context} --max_batch_size {batch} "
                    "--tp_size {gpus} --port {port}",
    "triton": "tritonserver --model-repository model_repository --http-port {port}",
    "llama.cpp": "python -m llama_cpp.server --model {path} --n_ctx {context} --port {port}",
    "ollama": "ollama create my-model -f Modelfile && ollama run my-model",
}  # fmt: skip


def triton_files(path: Path | str, context: int, batch: int, gpus: int) -> dict[str, str]:
    """Return the model repository of Triton's vLLM backend: one engine description, one configuration."""
    engine = {
        "model": str(path),
        "max_model_len": context,
        "max_num_seqs": batch,
        "tensor_parallel_size": gpus,
    }
    config = 'backend: "vllm"\ninstance_group [{ count: 1 kind: KIND_MODEL }]\n'
    return {
        "model_repository/model/1/model.json": json.dumps(engine, indent=2),
        "model_repository/model/config.pbtxt": config,
    }


FILES = {
    "triton": triton_files,
    "ollama": lambda path, context, batch, gpus: {"Modelfile": modelfile(path, context)},
}
