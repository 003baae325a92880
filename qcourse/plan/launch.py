"""How to start an artefact in eight servers: the commands and the files they need.

The lines are those of data/servers.yaml. `qcourse serve` starts vLLM and llama.cpp itself.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from qcourse.common import QCourseError
from qcourse.common.gguf_files import served_name
from qcourse.common.tables import data_table
from qcourse.plan.templates import gguf_context, modelfile, triton_files

SERVERS = data_table("servers.yaml")
GGUF_SERVERS = tuple(name for name, server in SERVERS.items() if server.get("gguf"))
KV_FLAG = {(name, kind): flag for name, server in SERVERS.items()
           for kind, flag in server.get("kv_flags", {}).items()}  # fmt: skip
RETIRED = {
    "tgi": "Text Generation Inference was archived on 2026-03-21 (last release: 3.3.7); its makers point "
           "to vLLM and SGLang: --model-id becomes vllm's argument, --max-total-tokens --max-model-len, "
           "--max-concurrent-requests --max-num-seqs, --num-shard --tensor-parallel-size",
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
        known = SERVERS[self.server]
        note = "" if self.ours else ", not run here"
        first = f"\n# first: {known['install']}" if "install" in known else ""
        files = "".join(f"\n{name}:\n{text}" for name, text in self.files.items())
        return f"# {self.server}   (checked against {known['checked']}{note}){first}\n{self.command}{files}"


def commands(path: Path | str, form: str, context: int = 4096, batch: int = 8, gpus: int = 1) -> list[Launch]:
    """Return the launches of the servers that read this format (see `launch` for one and for reasons)."""
    found = []
    for server in SERVERS:
        try:
            found.append(launch(server, path, form, context, batch, gpus=gpus))
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
    command = SERVERS[server]["command"].format(
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
    if reason := SERVERS[server].get("lacks", {}).get(form):
        raise QCourseError(f"{server} does not load {form}: {reason}")
