"""Launch commands: which server reads what, and a Modelfile that renders as the chat template does."""

import json
import shlex

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qcourse.common import QCourseError
from qcourse.plan import SERVERS, commands, modelfile
from qcourse.plan.launch import launch

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}" + CHATML
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
)


def model_folder(tmp_path, template):
    config = {"chat_template": template, "eos_token": "<|im_end|>", "bos_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path / "model.gguf"


def go(template: str, system: str, prompt: str) -> str:
    """Execute the part of Go's template language that Modelfiles of ours use."""
    jinja = template.replace("{{ if .System }}", "{% if system %}").replace("{{ else }}", "{% else %}")
    jinja = jinja.replace("{{ end }}", "{% endif %}").replace("{{ .System }}", "{{ system }}")
    jinja = jinja.replace("{{ .Prompt }}", "{{ prompt }}").replace("{{ .Response }}", "")
    made = ImmutableSandboxedEnvironment(keep_trailing_newline=True).from_string(jinja)
    return made.render(system=system, prompt=prompt)


@pytest.mark.parametrize(
    ("template", "system"),
    [
        (CHATML, ""),
        (CHATML, "In French."),
        (DEFAULT_SYSTEM, ""),
        (DEFAULT_SYSTEM, "In French."),
        (NO_SYSTEM, ""),
    ],
)
def test_modelfile_renders_as_the_chat_template(tmp_path, template, system):
    text = modelfile(model_folder(tmp_path, template))
    body = text.split('TEMPLATE """')[1].split('"""')[0]
    messages = [{"role": "system", "content": system}] * bool(system) + [
        {"role": "user", "content": "Hi {x}"}
    ]
    expected = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    rendered = expected.render(
        messages=messages, add_generation_prompt=True, bos_token="", eos_token="<|im_end|>"
    )
    assert go(body, system, "Hi {x}") == rendered
    assert 'PARAMETER stop "<|im_end|>"' in text and f"FROM {tmp_path}" in text


def test_a_folder_without_a_template_gives_a_modelfile_without_one(tmp_path):
    text = modelfile(tmp_path / "model.gguf", context=512)
    assert "TEMPLATE" not in text and "PARAMETER num_ctx 512" in text


def test_every_command_carries_the_limits_and_quotes_the_path():
    for server in SERVERS:
        form = "gguf" if server in ("llama.cpp", "ollama") else "compressed-tensors"
        made = launch(server, "my models/a b", form, context=777, batch=5, gpus=2, port=9123)
        text = str(made)
        assert "777" in text and ("9123" in text or server == "ollama")
        if server in ("vllm", "sglang", "tensorrt-llm"):
            assert "my models/a b" in shlex.split(made.command)


def test_servers_that_do_not_read_a_format_are_left_out_and_say_why():
    assert {item.server for item in commands("x.gguf", "gguf")} == {"llama.cpp", "ollama"}
    assert "tensorrt-llm" not in {item.server for item in commands("x", "awq")}
    with pytest.raises(QCourseError, match="vllm does not read gguf files; start this one with llama.cpp"):
        launch("vllm", "x.gguf", "gguf")
    with pytest.raises(QCourseError, match="unknown server 'caddy'"):
        launch("caddy", "x", "awq")


def test_the_fp8_cache_is_a_flag_where_the_server_has_one():
    assert "--kv-cache-dtype fp8" in launch("vllm", "x", "awq", kv_cache_dtype="fp8").command
    with pytest.raises(QCourseError, match="no launch flag for a fp8 KV cache"):
        launch("triton", "x", "awq", kv_cache_dtype="fp8")


def test_triton_gets_a_model_repository_that_parses():
    files = launch("triton", "/models/x", "awq", gpus=2).files
    engine = json.loads(files["model_repository/model/1/model.json"])
    assert engine["model"] == "/models/x" and engine["tensor_parallel_size"] == 2
    assert 'backend: "vllm"' in files["model_repository/model/config.pbtxt"]
