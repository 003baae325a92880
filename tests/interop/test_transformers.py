"""Our files in transformers on the CPU, through gptqmodel, compressed-tensors and bitsandbytes."""

from dataclasses import replace

import pytest
import torch

from qcourse import export
from tests.engines import require
from tests.interop.artefacts import CONTROLS, FORMS, as_transformers, without_activations
from tests.interop.judge import load_in_transformers

pytestmark = pytest.mark.slow
LIBRARY = {"gptq": "gptqmodel", "compressed-tensors": "compressed-tensors", "bitsandbytes": "bitsandbytes"}
JUDGED = [form for form in FORMS if FORMS[form][1] != "awq" and form != "gptq mixed widths"]
"""AWQ's kernel takes a minute to build; transformers' GPTQ reader knows one width (see test_gptqmodel)."""
ONCE = ("gptq", "w8a8 int8", "nf4")
"""One form of each library, for the fast suite."""


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.engine] * (form in ONCE)) for form in JUDGED]
)
def test_engine_computes_what_we_compute(form, judge, short_judge, artefact):
    require("transformers", form)
    require(LIBRARY[FORMS[form][1]], form)
    # compressed-tensors unpacks FP4 to bfloat16 whatever the model's dtype
    dtype = torch.bfloat16 if "fp4" in form else torch.float32
    judge = short_judge if form == "llm.int8" else judge
    wanted = judge.logits(as_transformers(artefact(form).reference()))
    engine = judge.logits(load_in_transformers(artefact(form).folder, dtype))
    assert judge.verdict(wanted, engine).passed


@pytest.mark.parametrize("form", ["w8a8 int8", "fp8 dynamic", "fp8 static", "llm.int8"])
def test_an_engine_that_leaves_activations_alone_fails(form, short_judge, artefact):
    wanted = short_judge.logits(as_transformers(artefact(form).reference()))
    lazy = short_judge.logits(without_activations(artefact(form).reference()))
    assert not short_judge.verdict(wanted, lazy).passed


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("form", ["gptq", "w4a16 asymmetric"])
def test_a_damaged_file_fails_in_the_engine(form, control, judge, artefact, reference_logits, tmp_path):
    require(LIBRARY[FORMS[form][1]], form)
    folder = artefact(form).damaged(tmp_path / "damaged", CONTROLS[control], FORMS[form][1])
    assert not judge.verdict(reference_logits(form), judge.logits(load_in_transformers(folder))).passed


@pytest.mark.parametrize("control", CONTROLS)
def test_a_damaged_awq_file_fails(control, judge, artefact, reference_logits, tmp_path):
    """Judged by our own reader: the engines of AWQ files are slow to start or to compile their kernel."""
    folder = artefact("awq").damaged(tmp_path / "damaged", CONTROLS[control], "awq")
    model = artefact("awq").reference()
    model.load_state_dict(export.read(folder), strict=False)
    assert not judge.verdict(reference_logits("awq"), judge.logits(model)).passed


@pytest.mark.parametrize("control", ["swapped nibbles", "two groups' scales exchanged"])
def test_a_damaged_nf4_file_fails(control, judge, artefact, reference_logits, tmp_path):
    """bitsandbytes has no zero points; of its scales, the 8-bit codes of two blocks are exchanged."""
    require("bitsandbytes", "nf4")
    folder = artefact("nf4").damaged(tmp_path / "damaged", NF4_CONTROLS[control], "bitsandbytes")
    assert not judge.verdict(reference_logits("nf4"), judge.logits(load_in_transformers(folder))).passed


def exchanged_blocks(layer):
    """Exchange the nested codes of the first two blocks of every row."""
    codes = layer.nested.codes.reshape(layer.scale.shape).clone()
    codes[:, [0, 1]] = codes[:, [1, 0]]
    layer = CONTROLS["two groups' scales exchanged"](layer)
    layer.nested = replace(layer.nested, codes=codes)
    return layer


NF4_CONTROLS = CONTROLS | {"two groups' scales exchanged": exchanged_blocks}


def test_bitsandbytes_dequantizes_to_our_values(artefact):
    """Before the first forward pass, which repacks the weights on some processors."""
    require("bitsandbytes", "nf4")
    import bitsandbytes as bnb

    model = load_in_transformers(artefact("nf4").folder)
    for name, layer in artefact("nf4").quantized.layers.items():
        weight = model.get_submodule(name).weight
        values = bnb.functional.dequantize_4bit(weight.data, weight.quant_state).float()
        expected = layer.dequantize().to(torch.bfloat16).float()
        assert torch.equal(values.to(torch.bfloat16).float(), expected), name
