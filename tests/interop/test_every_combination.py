"""Every method, width and symmetry that the table gives a CPU engine under transformers, on a small model.

The other files of this folder judge one form of each kind on pico, with controls that must fail.
"""

import json

import pytest
import torch

from qcourse import export
from qcourse.quantize import quantize, reference
from qcourse.recipe import Recipe, named
from qcourse.recipe.compatibility import table
from tests.engines import require
from tests.interop.judge import load_in_transformers

pytestmark = pytest.mark.slow
LIBRARY = {"gptq": "gptqmodel", "compressed-tensors": "compressed-tensors", "awq": "gptqmodel"}


def recipe_of(row):
    """Return the recipe that a row of the table speaks of."""
    if row["method"] == "awq":
        return Recipe("rtn", transform="awq", bits=row["bits"], symmetric=row["symmetric"])
    if row["method"] in ("gptq", "rtn"):
        return Recipe(row["method"], bits=row["bits"], symmetric=row["symmetric"])
    return named(row["method"])


def combinations():
    """Return a test parameter for each row of an integer format, or of FP8 blocks, in a CPU engine."""
    for row in table():
        on_cpu = row["engine"] in ("transformers", "gptqmodel") and row["capability"].startswith("cpu")
        if on_cpu and row["loads"] != "no" and row["method"] in ("gptq", "rtn", "awq", "fp8-block"):
            symmetry = "" if row["symmetric"] else " asymmetric"
            yield pytest.param(
                row, id=f"{row['method']} {row['bits']} bits{symmetry} as {row['format']} in {row['engine']}"
            )


def written(recipe, format, judge, folder):
    """Quantize the judge's model; return the checkpoint written to `folder` and the quantized model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(judge.folder)  # GPTQModel loads none without it
    model = AutoModelForCausalLM.from_pretrained(judge.folder, dtype=torch.bfloat16)
    done = quantize(model, recipe, judge.tokens[:8], progress=False)
    return export.save(done.layers, done.model, tokenizer, folder, format, recipe, done.manifest), done


def load_in_gptqmodel(folder):
    """Return the model as GPTQModel loads it; its plain kernel has no float32, and bfloat16 hides 8 bits."""
    from gptqmodel import BACKEND, GPTQModel

    return GPTQModel.load(str(folder), backend=BACKEND.TORCH, device="cpu", dtype=torch.float16).model


@pytest.mark.parametrize("row", combinations())
def test_the_engine_computes_what_we_compute(row, peer_judge, tmp_path):
    require("transformers", row["method"])
    require(LIBRARY[row["format"]], row["method"])
    folder, done = written(recipe_of(row), row["format"], peer_judge, tmp_path / "out")
    load = load_in_gptqmodel if row["engine"] == "gptqmodel" else load_in_transformers
    wanted = peer_judge.logits(reference(done))
    assert peer_judge.verdict(wanted, peer_judge.logits(load(folder))).passed


def layout(folder):
    """Return all of a checkpoint but its values: names, shapes, dtypes, and the quantization config."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}
        shapes = {name: (part.get_shape(), part.get_dtype()) for name, part in parts.items()}
    return shapes, json.loads((folder / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize(
    ("other", "judged", "format"),
    [
        ("rtn-w4g128", "gptq-w4g128", "gptq"),
        ("gptq-w4g128", "rtn-w4g128", "compressed-tensors"),
        ("awq-w4g128-sym", "rtn-w4g128", "compressed-tensors"),
        ("gptq-w4g128-asym", "rtn-w4g128-asym", "compressed-tensors"),
        ("awq-w4g128", "rtn-w4g128-asym", "compressed-tensors"),
    ],
)
def test_a_file_differs_in_values_only_from_one_that_vllm_was_judged_on(
    other, judged, format, peer_judge, tmp_path
):
    """vLLM takes fifteen seconds to start; it sees no more of a method than this."""
    folders = [written(named(name), format, peer_judge, tmp_path / name)[0] for name in (other, judged)]
    assert layout(folders[0]) == layout(folders[1])
    first, second = (export.read(folder) for folder in folders)
    assert any(not torch.equal(first[name], second[name]) for name in first)
