"""sweep takes a row from the scoreboard only if it is of the same model, text, items and engine."""

import pytest

from qcourse.common import QCourseError, content_hash
from qcourse.measure import Row, append, evaluation_tokens
from qcourse.models.load import load_tokenizer
from qcourse.pipeline import sweep
from qcourse.recipe import named

RECIPE = named("rtn-w4g128")
STRANGERS = ({"evaluation_hash": "other windows"}, {"model_hash": "another model"}, {"n_items": 3},
             {"recipe_hash": "what the name meant once"}, {"engine": "vllm"})  # fmt: skip


@pytest.fixture
def plan(llama_gqa, tmp_path):
    """A grid of one recipe, on two windows of 64 tokens."""
    return sweep.Sweep([RECIPE.name], str(llama_gqa), windows=2, context=64, scoreboard=tmp_path / "b.jsonl")


@pytest.fixture
def row(llama_gqa):
    """Return a function (changes) -> the row that belongs to the grid, changed."""
    text = evaluation_tokens(load_tokenizer(llama_gqa), 2, 64)
    own = {"recipe": RECIPE.name, "lane": "rtn", "engine": "transformers", "recipe_hash": RECIPE.hash,
           "model_hash": content_hash(llama_gqa)[:16], "evaluation_hash": text.hash}  # fmt: skip
    return lambda **changes: Row(**(own | {"kl_mean": 0.25} | changes))


@pytest.fixture
def computed(monkeypatch):
    """The names of the recipes that are measured from here on, instead of the measuring."""
    asked: list[str] = []
    monkeypatch.setattr(sweep, "results", lambda plan, names: asked.extend(names) or [])
    return asked


def test_its_own_row_is_taken_also_where_strangers_were_written_later(plan, row, computed, capsys):
    append(plan.scoreboard, row())
    for changes in ({"recipe": "bf16 against fp32", "recipe_hash": "noise"}, *STRANGERS):
        append(plan.scoreboard, row(kl_mean=9.0, **changes))
    assert [found.kl_mean for found in sweep.sweep(plan)] == [0.25]
    assert computed == [] and "1 recipes, 1 measured before" in capsys.readouterr().out


@pytest.mark.parametrize("changes", STRANGERS)
def test_another_row_of_the_recipe_is_none_of_its_own(plan, row, monkeypatch, changes):
    append(plan.scoreboard, row(kl_mean=9.0, **changes))
    monkeypatch.setattr(sweep, "results", lambda plan, names: [row(recipe=name) for name in names])
    assert [found.kl_mean for found in sweep.sweep(plan)] == [0.25]


def test_a_finished_sweep_loads_no_weights(plan, row, computed, monkeypatch):
    append(plan.scoreboard, row())
    monkeypatch.setattr("qcourse.models.load", lambda *_: pytest.fail("the weights were loaded"))
    assert len(sweep.sweep(plan)) == 1 and computed == []


def test_a_torn_line_is_passed_over(plan, row, computed):
    append(plan.scoreboard, row())
    plan.scoreboard.write_text(plan.scoreboard.read_text() + '{"recipe": "rt')
    assert len(sweep.sweep(plan)) == 1 and computed == []


def test_recipes_that_are_no_list_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "grid.yaml").write_text("model: pico\nrecipes: 5\n")
    with pytest.raises(QCourseError, match="grid.yaml: recipes: input should be a valid list, not 5"):
        sweep.read_sweep(tmp_path / "grid.yaml")
