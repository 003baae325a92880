"""Recipes: names and JSON round-trip, contradictions are refused, the compatibility table answers."""

import pytest

from qcourse import recipe
from qcourse.common import QCourseError, repository
from qcourse.recipe import Recipe, check_engine, named


@pytest.mark.parametrize("name", recipe.KNOWN)
def test_names_and_json_round_trip(name):
    made = named(name)
    assert named(made.name) == made
    assert Recipe.from_json(made.to_json()) == made
    assert Recipe.from_json(made.to_json()).hash == made.hash


def test_names_mean_what_they_say():
    awq = named("awq-w4g128")
    assert (awq.transform, awq.method, awq.bits, awq.group_size, awq.symmetric) == (
        "awq",
        "rtn",
        4,
        128,
        False,
    )
    assert awq.name == "awq-w4g128-asym" and named("awq-w4g128-sym").symmetric
    assert named("gptq-w3g64-act").desc_act and named("gptq-w4-channel").group_size == -1
    assert named("awq+gptq-w3g128").method == "gptq" and named("awq+gptq-w3g128").transform == "awq"
    assert (named("gptaq-w3g64-act").method, named("gptaq-w3g64-act").variant) == ("gptq", "gptaq")
    assert named("gguf-q4_k_m").variant == "Q4_K_M"


def test_settings_that_a_name_cannot_carry_change_it():
    plain, mixed = Recipe("gptq"), Recipe("gptq", overrides={"self_attn.*": {"group_size": 32}})
    assert plain.name == "gptq-w4g128" and mixed.name.startswith("gptq-w4g128-")
    assert plain.hash != mixed.hash


def test_overrides_apply_by_pattern():
    mixed = Recipe("gptq", overrides={"self_attn.*": {"group_size": 32}, "model.layers.0.*": {"skip": True}})
    assert mixed.for_layer("model.layers.1.self_attn.q_proj").group_size == 32
    assert mixed.for_layer("model.layers.1.mlp.up_proj").group_size == 128
    assert mixed.for_layer("model.layers.0.mlp.up_proj") is None
    assert mixed.for_layer("lm_head") is None


@pytest.mark.parametrize("settings, words", [
    (dict(method="awq9"), "unknown method"),
    (dict(method="rtn", transform="awq", bits=5), "awq has no 5-bit form; choose from 3, 4, 8"),
    (dict(method="gptq", bits=1), "gptq has no 1-bit form"),
    (dict(method="nf4", bits=8), "nf4 has 4 bits"),
    (dict(method="gptq", group_size=0), "group size 0"),
    (dict(method="rtn", desc_act=True), "desc_act is GPTQ's"),
    (dict(method="gptq", transform="smoothquant"), "smoothquant moves outliers"),
    (dict(method="nf4", transform="awq"), "awq scales weights for integer grids"),
    (dict(method="gptq", overrides={"q_proj": {"bit": 3}}), "unknown fields bit"),
    (dict(method="gptq", overrides={"q_proj": {"bits": 9}}), "no 9-bit form"),
    (dict(method="gptq", damping=0), "damping"),
    (dict(method="gptq", transform="awq", variant="gptaq"), "goes with the method gptq and without awq"),
])  # fmt: skip
def test_contradictions_are_refused(settings, words):
    with pytest.raises(QCourseError, match=words):
        Recipe(**settings)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": "gptq", "bit": 4}', '{"method": "gptq"'])
def test_bad_json_is_refused(text):
    with pytest.raises(QCourseError, match="the recipe"):
        Recipe.from_json(text)


def test_unknown_name_lists_known_ones():
    with pytest.raises(QCourseError, match="unknown recipe 'gptq-w4g'; known are bf16"):
        named("gptq-w4g")


def test_engine_check_gives_reason_and_way_out():
    check_engine(named("gptq-w4g128"), "gptq", "vllm")
    with pytest.raises(
        QCourseError, match='4 or 8 bits, symmetric, only: ".*bits=3"; it loads as: .*gptq in transformers'
    ):
        check_engine(named("gptq-w3g128"), "gptq", "vllm")
    with pytest.raises(QCourseError, match="has no awq form; it can be written as"):
        check_engine(named("nf4"), "awq", "vllm")
    with pytest.raises(QCourseError, match="llama.cpp cannot load"):
        check_engine(named("gptq-w4g128"), "gptq", "llama.cpp")


def test_every_row_of_the_table_is_well_formed():
    assert len(recipe.table()) > 30
    for row in recipe.table():
        assert row["loads"] in {"yes", "no", "untested"} and row["evidence"]
        assert row["method"] in {*recipe.METHODS, "awq"}, row
        if row["loads"] == "yes":
            path, _, test = row["evidence"].partition("::")
            assert f"def {test.partition('[')[0]}(" in (repository() / path).read_text(), row


@pytest.mark.parametrize("name", [name for name in recipe.KNOWN])
def test_every_known_recipe_can_be_written_somehow(name):
    assert recipe.compatibility(named(name)), f"{name} has no row in data/compatibility.yaml"
