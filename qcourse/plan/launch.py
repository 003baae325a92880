"""How to start an artefact in eight servers: the commands and the files they need.

`qcourse serve` starts vLLM and llama.cpp itself. Every line was checked: against the tool's own
parser where it is installed with the course (a test does it), else against its documentation.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.common.gguf_files import served_name
from qcourse.plan.templates import gguf_context, modelfile, triton_files

COMMANDS = {  # {path} and {name} are quoted already; the address is this machine's alone
    "vllm": "vllm serve {path} --served-model-name {name} --max-model-len {context} --max-num-seqs {batch} "
            "--tensor-parallel-size {gpus} --host 127.0.0.1 --port {port} --api-key \"$API_KEY\"",
    "sglang": "python -m sglang.launch_server --model-path {path} --served-model-name {name} "
              "--context-length {context} --max-running-requests {batch} --tp {gpus} "
              "--host 127.0.0.1 --port {port} --api-key \"$API_KEY\"",
    "tensorrt-llm": "trtllm-serve {path} --backend pytorch --max_seq_len {context} --max_batch_size {batch} "
                    "--tp_size {gpus} --host 127.0.0.1 --port {port}",
    "triton": "tritonserver --model-repository model_repository --http-address 127.0.0.1 --http-port {port}",
    "lmdeploy": "lmdeploy serve api_server {path} --model-name {name} --model-format {form} "
                "--session-len {context} --max-batch-size {batch} --tp {gpus} "
                "--server-name 127.0.0.1 --server-port {port} --api-keys \"$API_KEY\"",
    "llama.cpp": "llama-server --model {path} --alias {name} --ctx-size {all_slots} --parallel {batch} "
                 "--host 127.0.0.1 --port {port} --api-key \"$API_KEY\"",
    "llama-cpp-python": "python -m llama_cpp.server --model {path} --model_alias {name} --n_ctx {context} "
                        "--host 127.0.0.1 --port {port} --api_key \"$API_KEY\"",
    "ollama": "ollama create {name} -f Modelfile && ollama run {name}",
}  # fmt: skip
SERVERS = tuple(COMMANDS)
GGUF_SERVERS = ("llama.cpp", "llama-cpp-python", "ollama")
CHECKED = {
    "vllm": "the parser of vLLM 0.32",
    "llama-cpp-python": "the settings of llama-cpp-python 0.3.36",
    "sglang": "docs.sglang.io, server arguments, 2026-11-27",
    "tensorrt-llm": "NVIDIA's trtllm-serve page, 2026-11-27",
    "triton": "the README of Triton's vLLM backend, 2026-11-21",
    "lmdeploy": "LMDeploy's api_server documentation, 2026-11-27",
    "llama.cpp": "the manual page of llama-server, 2026-11-27",
    "ollama": "Ollama's Modelfile documentation, 2026-11-21",
}
INSTALL = {  # what the course's environments lack; `qcourse serve` starts a GGUF without either
    "llama.cpp": "llama-server comes with llama.cpp's releases",
    "llama-cpp-python": "pip install 'llama-cpp-python[server]'",
}
RETIRED = {
    "tgi": "Text Generation Inference was archived on 2026-03-21 (last release: 3.3.7); its makers point "
           "to vLLM and SGLang: --model-id becomes vllm's argument, --max-total-tokens --max-model-len, "
           "--max-concurrent-requests --max-num-seqs, --num-shard --tensor-parallel-size",
}  # fmt: skip
NO_BITSANDBYTES = "it has no reader for bitsandbytes files"
MODELOPT = "its PyTorch backend reads ModelOpt and FP8 checkpoints; serve the {} file with vLLM"
NOT_IN = {  # (server, format): why
    ("tensorrt-llm", "gptq"): MODELOPT.format("GPTQ"),
    ("tensorrt-llm", "awq"): MODELOPT.format("AWQ"),
    ("tensorrt-llm", "bitsandbytes"): NO_BITSANDBYTES,
    ("vllm", "bitsandbytes"): "bitsandbytes left vLLM's core for the plugin vllm-bnb-plugin",
    ("triton", "bitsandbytes"): "its vLLM backend has no bitsandbytes reader without vllm-bnb-plugin",
    ("lmdeploy", "bitsandbytes"): NO_BITSANDBYTES,
    ("lmdeploy", "compressed-tensors"): "its documentation names hf, awq and gptq files; serve it with vLLM",
}
KV_FLAG = {  # (server, type of the cache): the flag; llama_cpp.server takes GGML's numbers, 8 is q8_0
    ("vllm", "fp8"): "--kv-cache-dtype fp8",
    ("sglang", "fp8"): "--kv-cache-dtype fp8_e4m3",
    ("lmdeploy", "int8"): "--quant-policy 8",
    ("llama.cpp", "q8_0"): "--cache-type-k q8_0 --cache-type-v q8_0",
    ("llama-cpp-python", "q8_0"): "--type_k 8 --type_v 8 --flash_attn true",
}


@dataclass(frozen=True)
class Launch:
    """How a server is started: command, files to write ({name: text}), whether `serve` does it too."""

    server: str
    command: str
    files: dict[str, str]
    ours: bool

    def __str__(self) -> str:
        """Return the launch as text to read and to copy."""
        note = "" if self.ours else ", not run here"
        first = f"\n# first: {INSTALL[self.server]}" if self.server in INSTALL else ""
        files = "".join(f"\n{name}:\n{text}" for name, text in self.files.items())
        return (
            f"# {self.server}   (checked against {CHECKED[self.server]}{note}){first}\n{self.command}{files}"
        )


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

    context: tokens a sequence, capped at what a GGUF says of its model; batch: sequences at once;
    gpus: tensor-parallel size. Raises QCourseError when the server does not read the format, naming
    one that does, and for a server that is archived.
    """
    check_readable(server, form)
    flag = "" if kv_cache_dtype == "auto" else KV_FLAG.get((server, kv_cache_dtype))
    if flag is None:
        known = ", ".join(f"{kind} in {name}" for name, kind in KV_FLAG)
        raise QCourseError(f"{server} has no launch flag for a {kv_cache_dtype} KV cache; known: {known}")
    context = min(context, gguf_context(path) or context)
    name = name_without_spaces(path)
    command = COMMANDS[server].format(
        path=shlex.quote(str(path)), name=shlex.quote(name), context=context, batch=batch,
        all_slots=context * batch, gpus=gpus, port=port, form="hf" if form == "merged" else form,
    )  # fmt: skip
    files = {"triton": lambda: triton_files(path, context, batch, gpus),
             "ollama": lambda: {"Modelfile": modelfile(path, context)}}.get(server, dict)()  # fmt: skip
    return Launch(server, f"{command} {flag}".strip(), files, server == "vllm")


def name_without_spaces(path: Path | str) -> str:
    """Return the name that an artefact is served under in a launch line."""
    return served_name(Path(path)).replace(" ", "-")


def check_readable(server: str, form: str) -> None:
    """Raise QCourseError for an unknown or archived server and for a format that it does not read."""
    if server in RETIRED:
        raise QCourseError(RETIRED[server])
    if server not in SERVERS:
        raise QCourseError(f"unknown server {server!r}; known are {', '.join(SERVERS)}")
    if (form == "gguf") != (server in GGUF_SERVERS):
        other = "llama.cpp or ollama" if form == "gguf" else "vllm, sglang, lmdeploy or triton"
        raise QCourseError(f"{server} does not read {form} files; start this one with {other}")
    if reason := NOT_IN.get((server, form)):
        raise QCourseError(f"{server} does not load {form}: {reason}")
