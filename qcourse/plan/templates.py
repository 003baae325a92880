"""Ollama's Modelfile for a GGUF of ours, its TEMPLATE derived from the model's own chat template."""

import json
from pathlib import Path

from qcourse.common import QCourseError

SYSTEM, PROMPT, RESPONSE = "{{ .System }}", "{{ .Prompt }}", "{{ .Response }}"


def modelfile(gguf: Path | str, context: int = 4096, tokenizer: Path | str | None = None) -> str:
    """Return the Modelfile of a GGUF: FROM, TEMPLATE, context and stop text.

    tokenizer: the folder with the model's chat template; by default the GGUF's own folder.
    Without a template there the Modelfile has none, and Ollama passes the prompt as it is.
    """
    gguf = Path(gguf)
    template, stop, beginning = chat_template(Path(tokenizer) if tokenizer else gguf.parent)
    lines = [f"FROM {gguf.resolve()}", f"PARAMETER num_ctx {context}"]
    if template:
        lines.append(f'TEMPLATE """{go_template(template, stop, beginning)}"""')
        lines += [f"PARAMETER stop {json.dumps(stop)}"] if stop else []
    return "\n".join(lines) + "\n"


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
    shared = common_ending(full[start + len(SYSTEM) :], plain) if start >= 0 else ""
    if start < 0 or not shared:
        return plain + RESPONSE
    head = full[: len(full) - len(shared)]
    before = plain[: len(plain) - len(shared)]
    opening = (
        f"{{{{ if .System }}}}{head}{{{{ else }}}}{before}{{{{ end }}}}"
        if before
        else (f"{{{{ if .System }}}}{head}{{{{ end }}}}")
    )
    return opening + shared + RESPONSE


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


def common_ending(first: str, second: str) -> str:
    """Return the longest text on which both end."""
    length = 0
    while length < min(len(first), len(second)) and first[-length - 1] == second[-length - 1]:
        length += 1
    return first[len(first) - length :]
