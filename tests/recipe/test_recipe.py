"""Recipes: names and JSON round-trip, contradictions are refused, the compatibility table answers."""

import json

import pytest

from qcourse import recipe
from qcourse.common import QCourseError, content_hash, repository
from qcourse.recipe import Recipe, check_engine, named
from qcourse.recipe.record import new_record, read_record, write_record
from qcourse.recipe.vocabulary import GGUF_TYPES


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
    assert awq.name == "awq-w4g128" and named("awq-w4g128-asym") == awq and named("awq-w4g128-sym").symmetric
    assert named("gptq-w3g64-act").desc_act and named("gptq-w4-channel").group_size == -1
    assert named("awq+gptq-w3g128").method == "gptq" and named("awq+gptq-w3g128").transform == "awq"
    assert (named("gptaq-w3g64-act").method, named("gptaq-w3g64-act").variant) == ("gptq", "gptaq")
    assert named("gguf-q4_k_m").variant == "Q4_K_M"


def test_a_control_is_a_variant_that_its_name_carries():
    for name in (
        "gptq-w3g128-nosearch",
        "gptq-w3g64-asym-nofeedback",
        "awq-w3g128-noclip",
        "awq-w4g32-sym-noscale",
    ):
        made = named(name)
        assert made.variant == name.rpartition("-")[2] and made.name == name
        assert Recipe.from_json(made.to_json()) == made
        assert made.hash != named(name.rpartition("-")[0]).hash
    for name in ("rtn-w3g128-noclip", "awq-w3g128-nosearch", "gptq-w3g128-noscale"):
        with pytest.raises(QCourseError, match="has no variant"):
            named(name)


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
    with pytest.raises(
        QCourseError, match="unknown recipe 'gptq-w4g'; methods are rtn, gptq, .*recipes such as gptq-w4g128"
    ):
        named("gptq-w4g")


def test_engine_check_gives_reason_and_way_out():
    check_engine(named("gptq-w4g128"), "gptq", "vllm")
    with pytest.raises(
        QCourseError, match='4 or 8 bits, symmetric, only: ".*bits=3"; it loads as: .*gptq in transformers'
    ):
        check_engine(named("gptq-w3g128"), "gptq", "vllm")
    with pytest.raises(QCourseError, match="has no awq form; it can be written as"):
        check_engine(named("nf4"), "awq", "vllm")
    with pytest.raises(QCourseError, match="gptq is written with 2, 3, 4, 8 bits, not 5"):
        check_engine(Recipe("gptq", bits=5, group_size=128), "gptq", "vllm")
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


MISTYPED = [
    ({"method": 5}, "method of a recipe must be a word, not 5"),
    ({"method": ["gptq"]}, r"method of a recipe must be a word, not \['gptq'\]"),
    ({"method": None}, "method of a recipe must be a word, not None"),
    ({"transform": 1}, "transform of a recipe must be a word or null, not 1"),
    ({"bits": 4.0}, "bits of a recipe must be a whole number, not 4.0"),
    ({"bits": "4"}, "bits of a recipe must be a whole number, not '4'"),
    ({"bits": True}, "bits of a recipe must be a whole number, not True"),
    ({"group_size": 128.0}, "group_size of a recipe must be a whole number or null, not 128.0"),
    ({"group_size": True}, "group_size of a recipe must be a whole number or null, not True"),
    ({"symmetric": "no"}, "symmetric of a recipe must be true or false, not 'no'"),
    ({"symmetric": 1}, "symmetric of a recipe must be true or false, not 1"),
    ({"desc_act": "yes"}, "desc_act of a recipe must be true or false, not 'yes'"),
    ({"act_order": None}, "act_order of a recipe must be a word, not None"),
    ({"activations": 0}, "activations of a recipe must be a word, not 0"),
    ({"alpha": None}, "alpha of a recipe must be a number, not None"),
    ({"alpha": False}, "alpha of a recipe must be a number, not False"),
    ({"threshold": "x"}, "threshold of a recipe must be a number, not 'x'"),
    ({"damping": "a"}, "damping of a recipe must be a number, not 'a'"),
    ({"variant": None}, "variant of a recipe must be a word, not None"),
    ({"overrides": []}, r"overrides of a recipe must be a table such as .*, not \[\]"),
    ({"overrides": {"q_proj": 4}}, r"override 'q_proj' has unknown fields \(not a table\)"),
    ({"ignore": 5}, "ignore of a recipe must be a list of names .*, not 5"),
    ({"ignore": "lm_head"}, "ignore of a recipe must be a list of names .*, not 'lm_head'"),
    ({"ignore": ["lm_head", 5]}, r"ignore of a recipe must be a list of names .*, not \['lm_head', 5\]"),
    ({"overrides": {"q_proj": {"bits": 3.0}}}, "override 'q_proj': bits .* must be a whole number, not 3.0"),
    ({"overrides": {"q_proj": {"symmetric": "no"}}}, "override 'q_proj': symmetric .* or false, not 'no'"),
    ({"overrides": {"q_proj": {"skip": "no"}}}, "override 'q_proj': skip .* must be true or false, not 'no'"),
    ({"overrides": {"q_proj": {"group_size": None}}}, "override 'q_proj': group_size .* number, not None"),
    # patterns that do not match their own text, or that are ignored or skipped, are no way around the checks
    ({"overrides": {"model.layers.[0-3].*": {"bits": 9}}}, r"override 'model.layers.\[0-3\].*no 9-bit"),
    ({"overrides": {"*lm_head*": {"bits": "a"}}}, r"override '\*lm_head\*': bits .* whole number, not 'a'"),
    ({"overrides": {"q_proj": {"bits": 9, "skip": True}}}, "override 'q_proj': gptq has no 9-bit form"),
    ({"variant": "foo"}, "gptq has no variant 'foo'; known are gptaq"),
    ({"method": "rtn", "variant": "foo"}, "rtn has no variant 'foo'; leave the variant out"),
    ({"method": "nf4", "variant": "double"}, "nf4 has no variant 'double'; known are single"),
    ({"method": "gguf", "variant": "FOO"}, "gguf has no variant 'FOO'; known are F16, Q4_0, .*, BF16"),
    ({"method": "gguf"}, "gguf has no variant ''; known are F16"),
    ({"method": "llm-int8", "bits": 8, "threshold": -1}, "threshold must be a number from 0 up, not -1"),
    ({"threshold": float("nan")}, "threshold must be a number from 0 up, not nan"),
    ({"alpha": float("nan")}, "alpha must lie between 0 and 1, not nan"),
    ({"activations": "sometimes"}, "unknown activations 'sometimes'; known are dynamic, static"),
    ({"method": "fp8-static", "bits": 8}, 'static activations, not dynamic; set activations to "static" or'),
    ({"method": "fp8-dynamic", "bits": 8, "activations": "static"}, "fp8-dynamic has no static activations"),
    ({"method": "rtn", "activations": "static"}, "rtn has no static activations, only w8a8-int8 and fp8-st"),
]  # fmt: skip


@pytest.mark.parametrize("values, words", MISTYPED)
def test_a_file_with_a_value_of_the_wrong_type_or_word_is_refused(values, words):
    with pytest.raises(QCourseError, match=words) as refused:
        Recipe.from_json(json.dumps({"method": "gptq"} | values))
    assert len(str(refused.value)) < 400


def test_right_types_are_taken():
    """The same fields with proper values, whole numbers where numbers are meant, and a tuple from Python."""
    values = {"method": "gptq", "bits": 3, "group_size": -1, "symmetric": False, "alpha": 1, "threshold": 3,
              "transform": None, "overrides": {"model.layers.[0-3].*": {"bits": 8, "skip": False}},
              "ignore": ["lm_head", "mlp"]}  # fmt: skip
    made = Recipe.from_json(json.dumps(values))
    assert made.for_layer("model.layers.2.self_attn.q_proj").bits == 8
    assert made.for_layer("model.layers.2.mlp.up_proj") is None and made.ignore == ("lm_head", "mlp")
    assert Recipe("gptq", ignore=("lm_head",)) == Recipe.from_json('{"method": "gptq"}')
    assert Recipe.from_json(named("fp8-static").to_json()).activations == "static"


def test_a_number_of_too_many_digits_is_no_json():
    with pytest.raises(QCourseError, match="the recipe is not JSON"):
        Recipe.from_json('{"method": "gptq", "bits": ' + "4" * 5000 + "}")


def test_gguf_types_are_those_that_are_written():
    from qcourse.export.gguf import TYPES

    assert set(GGUF_TYPES) == set(TYPES) and len(GGUF_TYPES) == len(TYPES)
    for kind in GGUF_TYPES:
        assert named(f"gguf-{kind.lower()}").variant == kind
        assert named(f"gguf-{kind}").name == f"gguf-{kind.lower()}"
    with pytest.raises(QCourseError, match="gguf has no variant 'Q9_9'"):
        named("gguf-q9_9")


@pytest.mark.parametrize("values, sentence", [
    ({"overrides": []}, "overrides of a recipe must be a table"),
    ({"overrides": {"q_proj": {"bits": 3.0}}}, "override 'q_proj': bits of a recipe must be a whole number"),
])  # fmt: skip
def test_the_command_line_says_it_in_one_sentence(capsys, tmp_path, values, sentence):
    from qcourse.cli import main

    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"method": "gptq"} | values))
    with pytest.raises(SystemExit) as stop:
        main(["quantize", "pico", "--recipe", str(path), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert stop.value.code == 1 and f"error: {sentence}" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_sixteen_bits_in_an_override_keep_the_linear():
    made = Recipe("gptq", overrides={"k_proj": {"bits": 16}})
    assert made.for_layer("model.layers.0.self_attn.k_proj") is None
    assert made.for_layer("model.layers.0.self_attn.q_proj").bits == 4
    with pytest.raises(QCourseError, match="bits of a recipe must be a whole number, not 16.0"):
        Recipe("gptq", overrides={"k_proj": {"bits": 16.0}})
    nf4 = Recipe("nf4", group_size=64, overrides={"k_proj": {"bits": 16}})
    assert nf4.for_layer("model.layers.0.self_attn.k_proj") is None


def a_record(**changes):
    """Return the text of a record, changed."""
    return json.dumps(new_record(named("gptq-w4g128"), "gptq", {}).to_values() | changes)


RECORDS = [
    ("not json", "is not JSON; write the artefact again"),
    ("{}", "has no recipe.json; it was not written by qcourse"),
    ("[]", "has no recipe.json; it was not written by qcourse"),
    ('{"recipe": null, "format": "gptq", "versions": {}, "manifest": {}}', "is of an earlier version of"),
    (a_record(recipe={"method": "gptq", "bit": 4}), "unknown fields: bit; known are method"),
    (a_record(recipe=5), "recipe"),
    (a_record(threads=2), "threads: extra inputs are not permitted, not 2"),
    (a_record(layers=[]), r"layers: input should be a valid dictionary, not \[\]"),
]  # fmt: skip


@pytest.mark.parametrize("text, words", RECORDS)
def test_a_record_that_is_none_is_refused_in_one_sentence(tmp_path, text, words):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(QCourseError, match=words):
        read_record(tmp_path)


def test_a_record_holds_each_fact_once_and_is_read_back(tmp_path):
    facts = {"source": {"model": "pico", "hash": "ab"}, "calibration": {"sha256": "cd", "seed": 0}}
    made = new_record(named("awq-w4g128"), "awq", facts)
    write_record(tmp_path, made)
    found = read_record(tmp_path)
    assert (
        found == made.model_copy(update={"content": content_hash(tmp_path)})
        and made.recipe_hash == named("awq-w4g128").hash
    )
    text = (tmp_path / "recipe.json").read_text()
    for word in ("torch", "threads", "instruction_set", '"awq"', '"date"', made.recipe_hash):
        assert text.count(word) == (2 if word == '"awq"' else 1), word  # AWQ is a transform and a format
    write_record(tmp_path, new_record(None, "merged", {}))
    assert read_record(tmp_path).recipe is None and read_record(tmp_path).name == ""
