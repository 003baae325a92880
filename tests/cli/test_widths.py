"""Widths that 128 or 256 do not divide: the group that is chosen, and what is refused with what would do."""

import re
from pathlib import Path

import pytest

from qcourse import models
from qcourse.export import gguf
from qcourse.plan import accelerator, lanes, plan
from qcourse.recipe import fit, named
from qcourse.recipe.record import read_record
from tests.engines import require
from tests.small_models import WIDE, write_small_model

GROUPS = {"576": 64, "640": 128, "896": 128, "960": 64}


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> dict[str, Path]:
    """The four models by their width."""
    root = tmp_path_factory.mktemp("wide")
    return {width: write_small_model(root / width, width) for width in WIDE}


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch):
    monkeypatch.setattr("qcourse.pipeline.calibration.SEQUENCES", 2)
    monkeypatch.setattr("qcourse.pipeline.calibration.LENGTH", 64)


@pytest.mark.parametrize("width", WIDE)
def test_the_largest_usual_group_that_divides_is_chosen_said_and_named(width, wide, cli, tmp_path):
    made = cli("quantize", wide[width], "--method", "gptq", "--bits", 3, "--output", tmp_path / "x")
    assert made.code == 0, made.err
    name = f"gptq-w3g{GROUPS[width]}"
    assert read_record(tmp_path / "x").name == name and name in made.out
    said = [line for line in made.err.splitlines() if line.startswith("groups of")]
    assert said == [f"groups of {GROUPS[width]}, the largest of 128, 64, 32 that fits: {name}"]


def test_a_named_group_that_does_not_divide_is_refused_with_the_usual_ones_first(wide, refused, tmp_path):
    words = r"group size 128 does not divide 576 columns .*; these divide: 64, 32, 576"
    for asked in (("gptq", "--group-size", 128), ("awq-w4g128",), ("rtn-w4g128",)):
        assert re.search(
            words, refused("quantize", wide["576"], "--method", *asked, "--output", tmp_path / "x")
        )
    assert re.search(words, refused("plan", wide["576"], "--recipe", "gptq-w4g128"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", WIDE)
def test_plan_and_the_chooser_name_what_quantize_would_build(width, wide):
    widths = models.widths(models.skeleton(wide[width]))
    found = lanes(str(wide[width]), accelerator("H100"), 256)
    assert all(fit(named(lane.recipe), widths) for lane in found)
    kinds = {lane.recipe for lane in found}
    assert {f"gptq-w4g{GROUPS[width]}", f"awq-w4g{GROUPS[width]}", "gguf-iq4_nl"} <= kinds
    assert plan(str(wide[width]), "H100", "gptq", 256).recipe == fit(named("gptq"), widths)


def test_llama_cpp_takes_other_types_where_it_is_allowed_to(wide, cli, refused, tmp_path):
    require("llama.cpp")
    options = ("quantize", wide["576"], "--method", "gguf-q4_k_m", "--output", tmp_path / "x.gguf")
    assert "Q4_K_M takes 256 columns together, which do not divide 576 columns" in refused(*options)
    made = cli(*options, "--allow-fallback")
    assert made.code == 0, made.err
    types = {kind for kind, shape in gguf.tensor_types(tmp_path / "x.gguf").values() if len(shape) == 2}
    assert types == {"Q5_0", "Q4_K", "Q6_K", "Q8_0"}
    bits = float(re.search(r"([\d.]+) bits a weight", made.out)[1])
    assert 5 < bits < 8.5
