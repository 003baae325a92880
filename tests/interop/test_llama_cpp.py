"""Our GGUF files, and what llama.cpp's quantizer makes of them, in llama.cpp: one process for each file."""

import importlib
import json

import pytest
import torch

from qcourse import export, serve
from qcourse.common import QCourseError, data_folder
from qcourse.export.gguf.quantize import NEED_IMATRIX
from tests.engines import require
from tests.interop.llama_arithmetic import as_llama_cpp

pytestmark = pytest.mark.slow
TEXTS = [
    "12345 + 678 = 13023",
    "a\tb\n\n  c \r\n d",
    "naïve café, Ærøskøbing",
    "日本語とемодзи 🙂👍🏽",
    "   leading and trailing   ",
    "def f(x):\n    return x**2  # squares",
    "it's, we'll, I'd, they've",
    "e.g. 3.14159e-10, 1,000,000",
    "ﬁ ½ ²",
]


def full(folder):
    """Return a model in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)


@pytest.fixture(scope="module")
def bf16_file(source, tmp_path_factory):
    """The model that is judged as a bf16 GGUF."""
    require("gguf")
    require("llama.cpp")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    path = tmp_path_factory.mktemp("gguf") / "bf16.gguf"
    return export.gguf.write(model, AutoTokenizer.from_pretrained(source), path)


@pytest.fixture(scope="module")
def quantized(bf16_file):
    """Return a function from a type to the file that llama.cpp made of the bf16 one."""

    def made(kind):
        path = bf16_file.with_name(f"{kind}.gguf")
        return path if path.exists() else export.gguf.quantize(bf16_file, path, kind, threads=1)

    return made


def llama_logits(path, judge, kv_cache_dtype="auto"):
    with serve.llama_cpp(path, kv_cache_dtype, context=512, progress=False) as server:
        return server.logits(judge.tokens)


@pytest.mark.engine
def test_bf16_logits_and_tokens(bf16_file, judge):
    """By divergence, and by logits on average: llama.cpp rounds a linear's inputs to bf16 as well."""
    require("llama.cpp", "gguf bf16")
    found = llama_logits(bf16_file, judge)
    assert judge.verdict(judge.unquantized, found).passed
    assert (found - judge.unquantized).square().mean().sqrt() < 0.05


def test_every_logit_where_llama_cpp_rounds_nothing(judge, tmp_path):
    """Weights that need float32 are stored so; with a float32 cache nothing but order of sums differs."""
    from transformers import AutoTokenizer

    require("llama.cpp", "gguf f32")
    model = full(judge.folder)
    for index, parameter in enumerate(model.parameters()):
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
        parameter.mul_(1 + 1e-5 * noise)
    tokenizer = AutoTokenizer.from_pretrained(judge.folder)
    path = export.gguf.write(model, tokenizer, tmp_path / "f32.gguf")
    found = llama_logits(path, judge, "f32")
    assert (found - judge.logits(model)).abs().max() < 0.05


KINDS = "Q8_0 Q4_K_M F16 Q4_0 Q5_0 Q4_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS Q3_K_M Q2_K".split()


@pytest.mark.parametrize("kind", KINDS)
def test_quantized_files_compute_what_their_blocks_say(kind, quantized, judge):
    require("llama.cpp", f"gguf {kind}")
    model = as_llama_cpp(full(judge.folder), quantized(kind))
    found = llama_logits(quantized(kind), judge)
    assert judge.verdict(judge.logits(model), found, judge.again(model)).passed
    exchanged = model.model.layers[0].mlp.up_proj.weight
    exchanged[:, :64] = exchanged[:, :64].roll(32, 1)
    assert not judge.verdict(judge.logits(model), found).passed


def test_rows_left_unpermuted_fail(bf16_file, judge, tmp_path, monkeypatch):
    """The control of the GGUF writer: q and k in transformers' order are another model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    require("llama.cpp", "gguf bf16")
    writer = importlib.import_module("qcourse.export.gguf.write")
    monkeypatch.setattr(writer, "permute_rotary", lambda tensor, heads: tensor)
    model = AutoModelForCausalLM.from_pretrained(judge.folder, dtype=torch.bfloat16)
    path = export.gguf.write(model, AutoTokenizer.from_pretrained(judge.folder), tmp_path / "wrong.gguf")
    found = llama_logits(path, judge)
    assert not judge.verdict(judge.unquantized, found).passed


def test_an_imatrix_reaches_the_quantizer(bf16_file, quantized, source, tmp_path):
    from qcourse.models import linears

    columns = {name: linear.in_features for name, linear in linears(full(source)).items()}
    uneven = {name: torch.linspace(0, 1, count) ** 8 for name, count in columns.items()}
    kind = "IQ2_XS"
    assert kind in NEED_IMATRIX
    path = export.gguf.quantize(bf16_file, tmp_path / "iq2.gguf", kind, uneven, threads=1)
    assert path.stat().st_size < quantized("Q4_K_M").stat().st_size
    plain = export.gguf.read(quantized("Q4_K_M"))
    path = export.gguf.quantize(bf16_file, tmp_path / "q4.gguf", "Q4_K_M", uneven, threads=1)
    weighted, dense = export.gguf.read(path), export.gguf.read(bf16_file)
    name = "model.layers.0.mlp.up_proj.weight"
    last = slice(-32, None)
    errors = [(weights[name] - dense[name])[:, last].norm() for weights in (weighted, plain)]
    assert errors[0] < errors[1]
    wrong = {name.removesuffix(".weight"): torch.ones(7)}
    with pytest.raises(QCourseError, match="7 values for"):
        export.gguf.quantize(bf16_file, tmp_path / "no.gguf", "Q4_K_M", wrong)
    with pytest.raises(QCourseError, match="names no linear"):
        export.gguf.quantize(bf16_file, tmp_path / "no.gguf", "Q4_K_M", {"other": torch.ones(7)})
    assert not (tmp_path / "no.gguf").exists()


def test_a_quantized_file_is_not_quantized_again(quantized, tmp_path):
    with pytest.raises(QCourseError, match="quantized already"):
        export.gguf.quantize(quantized("Q8_0"), tmp_path / "again.gguf", "Q4_K_M")


def test_a_failing_quantizer_leaves_nothing(bf16_file, tmp_path):
    require("llama.cpp")
    broken = tmp_path / "broken" / "cut.gguf"
    broken.parent.mkdir()
    data = bf16_file.read_bytes()
    broken.write_bytes(data.replace(b"llama.block_count", b"llama.block_couns"))
    with pytest.raises(QCourseError, match="llama.cpp could not write|lacks"):
        export.gguf.quantize(broken, tmp_path / "broken" / "out.gguf", "Q8_0")
    assert [path.name for path in broken.parent.iterdir()] == ["cut.gguf"]


def test_same_tokens_as_transformers(bf16_file, source):
    """llama.cpp splits text as the tokenizer does: digits, tabs, newlines, accents, emoji."""
    require("llama.cpp", "gguf tokenizer")
    import subprocess
    import sys

    from transformers import AutoTokenizer

    script = (
        "import sys, json, llama_cpp; m = llama_cpp.Llama(sys.argv[1], vocab_only=True, verbose=False); "
        "ids = [m.tokenize(t.encode(), add_bos=False, special=True) for t in json.load(sys.stdin)]; "
        "print(json.dumps(ids))"
    )
    lines = (data_folder() / "eval" / "prose.jsonl").read_text(encoding="utf-8").splitlines()
    texts = TEXTS + [json.loads(line)["text"][:400] for line in lines[:20]]
    done = subprocess.run([sys.executable, "-c", script, str(bf16_file)], input=json.dumps(texts),
                          capture_output=True, text=True, check=True)  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.engine
@pytest.mark.parametrize("more", [{}, {"attention_factor": 1.3}], ids=["usual", "own factor"])
def test_yarn_turns_as_in_transformers(more, tmp_path, monkeypatch, small_tokens):
    require("llama.cpp", "gguf bf16")
    from transformers import AutoTokenizer

    from tests.small_models import SMALL, write_small_model

    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    monkeypatch.setitem(SMALL, "yarn", ("qwen2", {"rope_parameters": yarn | more}))
    folder = write_small_model(tmp_path / "yarn", "yarn")
    path = export.gguf.write(full(folder), AutoTokenizer.from_pretrained(folder), tmp_path / "yarn.gguf")
    wanted = full(folder)(small_tokens).logits.log_softmax(-1)
    with serve.llama_cpp(path, "f32", context=512, progress=False) as server:
        found = server.logits(small_tokens).log_softmax(-1)
    assert (wanted.exp() * (wanted - found)).sum(-1).mean() < 1e-3
