"""Tool calls of quantized pico, free and constrained to the schema, in both engines; two devices in vLLM."""

import json

import pytest

from qcourse import export, models, serve
from qcourse.common import data_folder
from qcourse.quantize import quantize
from qcourse.recipe import named
from qcourse.skills import tool_call
from qcourse.skills.item import Item
from tests import engines

COUNT = 32


@pytest.fixture(scope="module")
def items():
    """The first held-out requests of the tool-call skill."""
    lines = (data_folder() / "eval" / "tool_call.jsonl").read_text(encoding="utf-8").splitlines()[:COUNT]
    return [Item(row["skill"], row["prompt"], row["answer"], row["meta"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def pico():
    """Pico in bf16."""
    return models.load(data_folder() / "pico", device="cpu")


def asked(server, items, **options):
    """Return a server's greedy answers."""
    chats = [[{"role": "user", "content": item.prompt}] for item in items]
    return server.constrained(chats, [64] * len(items), **options)


def fits(text):
    """Return whether a text is JSON of the schema: a known tool with its arguments and their types."""
    import jsonschema

    try:
        jsonschema.validate(json.loads(text), tool_call.schema())
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def check(items, free, bound):
    """Assert that every constrained answer is a call, some free one is none, and no right one goes."""
    right = [sum(map(tool_call.grade, items, texts)) for texts in (free, bound)]
    print({"calls": [sum(map(fits, texts)) for texts in (free, bound)], "right": right, "of": len(items)})
    assert all(map(fits, bound)) and not all(map(fits, free))
    assert right[1] >= right[0]


def test_every_right_answer_fits_the_schema_and_other_calls_do_not(items):
    assert all(fits(item.answer) for item in items)
    strange = [{"tool": "fly", "arguments": {}}, {"tool": "set_timer", "arguments": {}},
               {"tool": "play_song", "arguments": {"title": "x", "times": "2"}}, 2]  # fmt: skip
    assert not any(fits(json.dumps(call)) for call in strange) and not fits("{")


@pytest.mark.slow
@pytest.mark.engine
def test_llama_cpp_says_nothing_else_under_the_schemas_grammar(pico, items, tmp_path):
    engines.require("llama.cpp", "constrained decoding")
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    grammar = json_schema_to_gbnf(json.dumps(tool_call.schema()))
    export.gguf.write(pico.model, pico.tokenizer, tmp_path / "pico.gguf")
    file = export.gguf.quantize(tmp_path / "pico.gguf", tmp_path / "pico-q2_k.gguf", "Q2_K")
    with serve.llama_cpp(file, context=512, threads=1, progress=False) as server:
        check(items[:24], asked(server, items[:24]), asked(server, items[:24], grammar=grammar))


@pytest.mark.slow
@pytest.mark.engine
def test_vllm_says_nothing_else_under_the_schema_and_the_same_on_two_devices(pico, items, tmp_path):
    """Weights of three bits, written dense: vLLM's CPU build computes with packed ones on some CPUs only."""
    engines.require("vllm", "constrained decoding")
    done = quantize(models.load(pico.folder, device="cpu").model, named("rtn-w3g128"), None, progress=False)
    folder = export.save(done.layers, done.model, pico.tokenizer, tmp_path / "pico-w3", "merged")
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": tool_call.schema()}}
    options = {"max_model_len": 512, "threads": 1, "progress": False, "dtype": "float32"}
    with serve.vllm(folder, **options) as server:
        free = asked(server, items)
        check(items, free, asked(server, items, response_format=form))
    with serve.vllm(folder, extra=("--tensor-parallel-size", "2"), **options) as server:
        assert asked(server, items[:8]) == free[:8]
