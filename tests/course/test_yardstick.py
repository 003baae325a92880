"""What the lessons read off their yardstick: figures, ratios with intervals, a table and bars."""

import math

import pytest

from qcourse import measure
from qcourse.course import Yardstick
from tests.small_models import write_small_model


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """A yardstick of a small model with two candidates, the second of which is further away."""
    folder = write_small_model(tmp_path_factory.mktemp("models") / "small", "llama_tied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QCOURSE_MODEL", str(folder))
        made = Yardstick(n_windows=4, context=32)
    made.measure("bf16", made.reference.model)
    for name, factor in (("near", 1.02), ("far", 1.3)):
        model = made.fresh()
        model.model.layers[0].mlp.down_proj.weight.data *= factor
        made.measure(name, model, 4.0)
    return made


def test_figures_are_those_of_measure(yard):
    assert yard.perplexity("bf16") == pytest.approx(measure.perplexity(yard.reference, yard.tokens).value)
    assert yard.kl("bf16") == pytest.approx(0, abs=1e-6) and 0 < yard.kl("near") < yard.kl("far")


def test_a_ratio_of_divergences_has_its_paired_interval(yard):
    found = yard.ratio("far", "near")
    assert found.value == pytest.approx(yard.kl("far") / yard.kl("near"), rel=1e-5)
    assert 1 < found.low <= found.value <= found.high
    assert yard.ratio("far", "far").low == yard.ratio("far", "far").high == 1


def test_a_ratio_of_perplexities_and_the_rise_in_percent_agree(yard):
    found, rise = yard.perplexity_ratio("far", "bf16"), yard.rise("far", "bf16")
    assert found.value == pytest.approx(yard.perplexity("far") / yard.perplexity("bf16"), rel=1e-5)
    assert found.low <= found.value <= found.high
    for ends in ("value", "low", "high"):
        assert getattr(rise, ends) == pytest.approx(100 * (getattr(found, ends) - 1))


def test_the_table_and_the_bars_show_every_candidate(yard, capsys):
    yard.table()
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("bf16", "near", "far")) and "top-1" in shown
    axes = yard.bars("title").axes[0]
    places = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.lines, strict=True))
    assert places["far"].get_xdata() == [yard.kl("far")]
    assert math.isclose(places["near"].get_xdata()[0], yard.kl("near"))
    assert len(axes.collections) == len(places)  # each with its interval
    assert [text.get_text() for text in yard.bars("", ["far"]).axes[0].get_yticklabels()] == ["far"]
