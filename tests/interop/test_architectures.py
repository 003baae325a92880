"""Architectures beside Llama and Qwen: our files in transformers and llama.cpp, as the table says."""

import pytest
import torch
import yaml

from qcourse import export, models, serve
from qcourse.common import QCourseError, data_folder
from qcourse.quantize import quantize, reference
from qcourse.recipe import named
from tests.engines import require
from tests.interop.judge import Judge, load_in_transformers
from tests.interop.llama_arithmetic import rounding_inputs
from tests.small_models import SMALL

pytestmark = pytest.mark.slow
FORMS = {"gptq": "gptq-w4g64", "awq": "awq-w4g64", "compressed-tensors": "rtn-w4g64"}
MIXTURES = ("qwen3_moe", "mixtral")
DENSE = ("smollm3", "granite", "olmo2", "glm4", "stablelm", "starcoder2")
NEW = ("phi3", "gemma2", "gemma3", *DENSE, *MIXTURES)


def rows():
    """Return the table's rows on architectures that an engine here loads, by (small model, format)."""
    table = yaml.safe_load((data_folder() / "compatibility.yaml").read_text())["architectures"]
    models_of = {kind: name for name, (kind, _) in SMALL.items()}
    return [
        (models_of[kind], form, row["engine"], row["loads"])
        for row in table for kind in row["architecture"] for form in row["format"]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def judges(small_folders):
    """The judge of each small model; its tokens reach beyond the window of 24."""
    tokens = torch.randint(5, 512, (32, 64), generator=torch.Generator().manual_seed(1))
    return {name: Judge(small_folders[name], tokens) for name in NEW}


@pytest.mark.parametrize(("name", "form"), [row[:2] for row in rows() if row[2:] == ("transformers", "yes")])
def test_transformers_computes_what_we_compute(name, form, judges, tmp_path):
    require("transformers")
    require("gptqmodel" if form in ("gptq", "awq") else "compressed-tensors")
    judge, recipe = judges[name], named(FORMS.get(form, "fp8-dynamic"))
    done = quantize(models.load(judge.folder).model, recipe, judge.tokens[:8], progress=False)
    tokenizer = models.load_tokenizer(judge.folder)
    folder = export.save(done.layers, done.model, tokenizer, tmp_path / "out", form.split()[0], recipe)
    wanted = judge.logits(reference(done))
    dtype = torch.float32 if name not in MIXTURES else torch.bfloat16  # what it unpacks experts to
    assert judge.verdict(wanted, judge.logits(load_in_transformers(folder, dtype))).passed
    if name in MIXTURES:
        with pytest.raises(QCourseError, match="unpacks the experts of .* to bfloat16 only"):
            models.load(folder, dtype="float32")


@pytest.mark.engine
@pytest.mark.parametrize("name", NEW)
def test_llama_cpp_computes_what_we_compute(name, judges, tmp_path):
    """Every logit where nothing is rounded but llama.cpp's table of GELU; by divergence where blocks are."""
    require("llama.cpp", "gguf architectures")
    judge = judges[name]
    model = models.load(judge.folder, dtype="float32")
    for index, parameter in enumerate(model.model.parameters()):
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
        parameter.data.mul_(1 + 1e-5 * noise)  # beyond bf16, so that float32 is written
    path = export.gguf.write(model.model, model.tokenizer, tmp_path / "f32.gguf")
    with serve.llama_cpp(path, "f32", context=512, progress=False) as server:
        found = server.logits(judge.tokens)
    assert (found - judge.logits(model.model)).abs().max() < 0.05
    for kind in ("Q4_0",) if name in DENSE else ("Q8_0", "Q4_0"):  # blocks are rounded alike in all
        blocks = tmp_path / f"{kind}.gguf"
        export.gguf.quantize(path, blocks, kind, threads=1)
        rounded = rounding_inputs(models.load(judge.folder, dtype="float32").model, blocks)
        with serve.llama_cpp(blocks, "f32", context=512, progress=False) as server:
            found = server.logits(judge.tokens)
        assert judge.verdict(judge.logits(rounded), found, judge.again(rounded)).passed, kind
