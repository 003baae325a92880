"""One function says whether a recipe fits a model's widths, and chooses the group size that nobody named."""

import pytest

from qcourse.common import QCourseError
from qcourse.recipe import Recipe, fit, named

NARROW = {"model.layers.0.self_attn.q_proj": 576, "model.layers.0.mlp.down_proj": 1536}


@pytest.mark.parametrize(
    ("width", "size"), [(512, 128), (576, 64), (960, 64), (896, 128), (640, 128), (96, 32), (48, -1)]
)
def test_the_largest_usual_group_that_divides_is_chosen(width, size):
    fitted = fit(named("gptq-w4"), {"a": width, "b": 4 * width})
    assert fitted.group_size == size
    assert fitted.name == ("gptq-w4-channel" if size == -1 else f"gptq-w4g{size}")


def test_a_named_size_stays_or_is_refused_with_those_that_engines_take_first():
    assert fit(named("gptq-w4g64"), NARROW) == named("gptq-w4g64")
    sentence = r"group size 128 does not divide 576 columns \(.*q_proj\); these divide: 64, 32, 576, 288"
    with pytest.raises(QCourseError, match=sentence):
        fit(named("gptq-w4g128"), NARROW)


def test_layers_that_are_kept_do_not_count():
    kept = Recipe("gptq", group_size=None, overrides={"q_proj": {"bits": 16}})
    assert fit(kept, NARROW).group_size == 128
    assert fit(kept, NARROW).for_layer("model.layers.0.self_attn.q_proj") is None


def test_formats_with_one_group_size_are_refused_by_name():
    with pytest.raises(QCourseError, match="fp8-block has groups of 128 only: keep those layers"):
        fit(named("fp8-block"), NARROW)


def test_methods_without_whole_groups_fit_any_width():
    for name in ("nf4", "llm-int8", "w8a8-int8", "fp8-dynamic", "bf16"):
        assert fit(named(name), {"a": 50}) == named(name)


def test_an_override_that_meets_nothing_is_told():
    with pytest.raises(QCourseError, match="matches no linear of the model; one is model.layers.0"):
        fit(Recipe("gptq", overrides={"experts.*": {"bits": 8}}), NARROW)
