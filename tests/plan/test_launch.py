"""Launch commands: which server reads what, and a Modelfile that renders as the chat template does."""

import ast
import json
import shlex
import subprocess
from importlib import metadata, util
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from qcourse.common import QCourseError
from qcourse.plan import SERVERS, commands, modelfile
from qcourse.plan.launch import GGUF_SERVERS, launch
from qcourse.setup import ENVIRONMENTS

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
    assert 'PARAMETER stop "<|im_end|>"' in text and f'FROM "{tmp_path}' in text


def test_a_folder_without_a_template_gives_a_modelfile_without_one(tmp_path):
    text = modelfile(tmp_path / "model.gguf", context=512)
    assert "TEMPLATE" not in text and "PARAMETER num_ctx 512" in text


def test_every_command_carries_the_limits_and_quotes_the_path():
    for server in SERVERS:
        form = {"lmdeploy": "awq"}.get(server, "gguf" if server in GGUF_SERVERS else "compressed-tensors")
        made = launch(server, "my models/a b", form, context=777, batch=5, gpus=2, port=9123)
        text = str(made)
        assert ("3885" if server == "llama.cpp" else "777") in text and ("9123" in text or server == "ollama")
        if server not in ("triton", "ollama"):
            words = shlex.split(made.command)
            assert "my models/a b" in words and "127.0.0.1" in words
        assert "checked against" in text


def test_servers_that_do_not_read_a_format_are_left_out_and_say_why():
    assert {item.server for item in commands("x.gguf", "gguf")} == set(GGUF_SERVERS)
    assert "tensorrt-llm" not in {item.server for item in commands("x", "awq")}
    with pytest.raises(QCourseError, match="vllm does not read gguf files; start this one with llama.cpp"):
        launch("vllm", "x.gguf", "gguf")
    with pytest.raises(QCourseError, match="unknown server 'caddy'"):
        launch("caddy", "x", "awq")
    with pytest.raises(QCourseError, match="archived on 2026-03-21.*vLLM and SGLang.*--num-shard --tensor"):
        launch("tgi", "x", "awq")


def test_the_narrow_cache_is_a_flag_where_the_server_has_one():
    assert "--kv-cache-dtype fp8" in launch("vllm", "x", "awq", kv_cache_dtype="fp8").command
    assert "--type_k 8 --type_v 8" in launch("llama-cpp-python", "x", "gguf", kv_cache_dtype="q8_0").command
    with pytest.raises(QCourseError, match="no launch flag for a fp8 KV cache"):
        launch("triton", "x", "awq", kv_cache_dtype="fp8")


def options(command: str) -> list[str]:
    return [word for word in shlex.split(command) if word.startswith("--")]


def test_the_options_of_llama_cpp_server_are_fields_of_its_settings():
    """Read from the source: the settings cannot be imported without the server's extra packages."""
    source = Path(util.find_spec("llama_cpp").origin).parent / "server" / "settings.py"
    tree = ast.parse(source.read_text())
    fields = {node.target.id: ast.unparse(node.annotation) for node in ast.walk(tree)
              if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}  # fmt: skip
    used = options(launch("llama-cpp-python", "x", "gguf", kv_cache_dtype="q8_0").command)
    assert {option[2:] for option in used} <= set(fields)
    assert fields["type_k"] == fields["type_v"] == "Optional[int]"


def test_what_a_command_needs_and_the_course_has_not_is_named_before_it():
    """The extra that is named is one of the installed package's own; a model.gguf has its folder's name."""
    text = str(launch("llama-cpp-python", "build/gguf-q8_0/model.gguf", "gguf"))
    assert "# first: pip install 'llama-cpp-python[server]'\npython -m llama_cpp.server" in text
    assert "server" in metadata.metadata("llama-cpp-python").get_all("Provides-Extra")
    assert "--model_alias gguf-q8_0" in text
    assert "# first" not in str(launch("vllm", "x", "awq"))


PARSE = """
import sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
found = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
print(found.model_tag, found.max_model_len, found.max_num_seqs, found.tensor_parallel_size, found.port)
"""


@pytest.mark.engine
@pytest.mark.skipif(not ENVIRONMENTS["serving"].python.exists(), reason="no serving environment")
def test_vllms_own_parser_takes_its_line():
    command = launch("vllm", "my models/a b", "awq", 777, 5, "fp8", gpus=2, port=9123).command
    python = str(ENVIRONMENTS["serving"].python)
    made = subprocess.run(
        [python, "-c", PARSE, *shlex.split(command)[2:]], capture_output=True, text=True, timeout=300
    )
    assert made.stdout.splitlines()[-1:] == ["my models/a b 777 5 2 9123"], made.stderr[-800:]


def test_a_gguf_gives_its_own_template_and_limit(tmp_path):
    import gguf

    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_token_list(["<s>", "<|im_end|>"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHATML)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    text = modelfile(path)
    assert "num_ctx 2048" in text and "TEMPLATE" in text and 'stop "<|im_end|>"' in text
    assert "--n_ctx 2048" in launch("llama-cpp-python", path, "gguf").command


def test_triton_gets_a_model_repository_that_parses():
    files = launch("triton", "/models/x", "awq", gpus=2).files
    engine = json.loads(files["model_repository/model/1/model.json"])
    assert engine["model"] == "/models/x" and engine["tensor_parallel_size"] == 2
    assert 'backend: "vllm"' in files["model_repository/model/config.pbtxt"]
