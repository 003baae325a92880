"""Files that servers start from: Ollama's Modelfile with the model's chat template, Triton's repository."""

import functools
import json
from os.path import commonprefix
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.common.gguf_files import open_gguf

SYSTEM, PROMPT, RESPONSE = "{{ .System }}", "{{ .Prompt }}", "{{ .Response }}"


def modelfile(gguf: Path | str, context: int = 4096) -> str:
    """Return the Modelfile of a GGUF: FROM, TEMPLATE, context (the model's at most) and stop text.

    The chat template is that of the GGUF's folder, else what the GGUF's metadata say. Without one Ollama
    passes the prompt as it is.
    """
    gguf = Path(gguf)
    template, stop, beginning = chat_template(gguf.parent)
    if not template:
        template, stop, beginning = gguf_template(gguf)
    context = min(context, gguf_context(gguf) or context)
    lines = [f'FROM "{gguf.resolve()}"', f"PARAMETER num_ctx {context}"]
    if template:
        lines.append(f'TEMPLATE """{go_template(template, stop, beginning)}"""')
        lines += [f"PARAMETER stop {json.dumps(stop)}"] if stop else []
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=4)
def gguf_metadata(path: Path, changed: float) -> dict[str, Any]:
    """Return the metadata that a launch needs; `changed`, the file's time, keeps the cache honest."""
    fields = open_gguf(path).fields
    wanted = ("general.architecture", "tokenizer.chat_template", "tokenizer.ggml.eos_token_id",
              "tokenizer.ggml.bos_token_id")  # fmt: skip
    found = {name: fields[name].contents() for name in wanted if name in fields}
    length = f"{found.get('general.architecture')}.context_length"
    for key in ("eos", "bos"):
        if (index := found.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            found[key] = fields["tokenizer.ggml.tokens"].contents(index)
    return found | ({"context": fields[length].contents()} if length in fields else {})


def metadata_of(path: Path | str) -> dict[str, Any]:
    """Return the metadata of a GGUF file that is there, else nothing."""
    path = Path(path)
    there = path.suffix == ".gguf" and path.is_file()
    return gguf_metadata(path, path.stat().st_mtime) if there else {}


def gguf_context(path: Path | str) -> int | None:
    """Return the context that a GGUF file says its model has."""
    return metadata_of(path).get("context")


def gguf_template(path: Path) -> tuple[str, str, str]:
    """Return (Jinja chat template, end-of-turn token, beginning token) of a GGUF file, "" where absent."""
    found = metadata_of(path)
    return found.get("tokenizer.chat_template", ""), found.get("eos", ""), found.get("bos", "")


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


def chat_template(folder: Path) -> tuple[str, str, str]:
    """Return (Jinja chat template, end-of-turn token, beginning token) of a model folder, "" where absent."""
    config_path = folder / "tokenizer_config.json"
    try:
        config = json.loads(config_path.read_text()) if config_path.exists() else {}
    except json.JSONDecodeError as error:
        raise QCourseError(f"{config_path} is not JSON; download it again") from error
    beside = folder / "chat_template.jinja"
    template = beside.read_text() if beside.exists() else config.get("chat_template") or ""
    return template, token(config.get("eos_token")), token(config.get("bos_token"))


def token(value: str | dict | None) -> str:
    """Return a special token's text; configurations hold it plain or as an object."""
    return (value or {}).get("content", "") if not isinstance(value, str) else value


def go_template(template: str, stop: str, beginning: str) -> str:
    """Return the Go template that renders as the Jinja one does for one turn, with or without a system text.

    The Jinja template is rendered on Ollama's placeholders, once with a system message and once
    without; what the system message adds is wrapped in {{ if .System }}. llama.cpp adds the
    beginning token itself, so it is left out.
    """
    user = [{"role": "user", "content": PROMPT}]
    plain = render(template, user, stop)
    try:
        full = render(template, [{"role": "system", "content": SYSTEM}, *user], stop)
    except QCourseError:
        full = plain  # a template that knows no system message refuses it
    start = full.find(SYSTEM)
    if start < 0:
        return plain + RESPONSE
    shared = commonprefix([full[start + len(SYSTEM) :][::-1], plain[::-1]])[::-1]  # on which both end
    if not shared:
        return plain + RESPONSE
    head, before = full.removesuffix(shared), plain.removesuffix(shared)
    otherwise = f"{{{{ else }}}}{before}" if before else ""
    return f"{{{{ if .System }}}}{head}{otherwise}{{{{ end }}}}{shared}{RESPONSE}"


def render(template: str, messages: list[dict[str, str]], stop: str) -> str:
    """Return the prompt that a Jinja chat template makes of messages, ready for the answer."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise QCourseError(message)

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    jinja.globals["raise_exception"] = refuse
    try:
        made = jinja.from_string(template)
        return made.render(messages=messages, add_generation_prompt=True, bos_token="", eos_token=stop)
    except TemplateError as error:
        raise QCourseError(f"the chat template cannot be rendered: {error}") from error
