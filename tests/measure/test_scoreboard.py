"""The scoreboard's file survives crashes and crowds; tables and figures refuse to mix."""

import json
import multiprocessing

import pytest

from qcourse import measure
from qcourse.common import QCourseError
from qcourse.measure import Row

PROMISED = """recipe lane engine bits_per_weight bits_per_quantized_weight file_bytes perplexity
    kl_mean kl_p99 top1_agreement skills intervals n_items tokens_per_second model_hash recipe_hash
    evaluation_hash dtype threads versions machine date""".split()


def row(name="gptq-w4g128", **changes):
    """Return a row with a few figures."""
    values = dict(
        lane="gptq", engine="vllm", bits_per_weight=4.5, kl_mean=0.02, model_hash="m", evaluation_hash="e"
    )
    return Row(name, **(values | {"recipe_hash": name} | changes))


def write_many(path, writer):
    """Append 25 rows."""
    for number in range(25):
        measure.append(path, row(f"{writer}-{number}"))


def test_a_line_holds_the_promised_keys(tmp_path):
    measure.append(tmp_path / "board.jsonl", row())
    stored = json.loads((tmp_path / "board.jsonl").read_text())
    assert list(stored)[: len(PROMISED)] == PROMISED
    assert measure.read(tmp_path / "board.jsonl") == [row()]


def test_several_writers_lose_nothing(tmp_path):
    path = tmp_path / "board.jsonl"
    processes = [
        multiprocessing.get_context("fork").Process(target=write_many, args=(path, n)) for n in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    names = {found.recipe for found in measure.read(path)}
    assert names == {f"{writer}-{number}" for writer in range(4) for number in range(25)}


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_torn_by_a_crash_spoils_only_itself(tmp_path, cut):
    path = tmp_path / "board.jsonl"
    measure.append(path, row("first"))
    measure.append(path, row("torn"))
    path.write_bytes(path.read_bytes()[:-cut])
    measure.append(path, row("third"))
    names = [found.recipe for found in measure.read(path)]
    assert names == (["first", "torn", "third"] if cut == 1 else ["first", "third"])


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        measure.append(tmp_path / "board.jsonl", row(perplexity=float("nan")))
    assert measure.read(tmp_path / "board.jsonl") == []


def test_a_new_measurement_replaces_the_old_one(tmp_path):
    path = tmp_path / "board.jsonl"
    for kl in (0.1, 0.2):
        measure.append(path, row(kl_mean=kl))
    assert [found.kl_mean for found in measure.read(path)] == [0.2]
    assert len(measure.read(path, latest=False)) == 2


def test_a_field_of_a_newer_version_is_no_obstacle(tmp_path):
    path = tmp_path / "board.jsonl"
    measure.append(path, row())
    path.write_text(path.read_text().replace('"lane"', '"novelty": 1, "lane"'))
    assert measure.read(path) == [row()]


@pytest.mark.parametrize("changes", [{"model_hash": "x"}, {"evaluation_hash": "x"}])
def test_table_and_figure_refuse_to_mix(changes):
    mixed = [row(), row("other", **changes)]
    for show in (measure.table, measure.pareto):
        with pytest.raises(QCourseError, match=f"mix 2 values of {next(iter(changes))}"):
            show(mixed)


def test_different_numbers_of_items_are_not_compared():
    with pytest.raises(QCourseError, match="n_items"):
        measure.table([row(n_items=50), row("other", n_items=200)])
    assert len(measure.table([row(n_items=50), row("other")])) == 2


def test_table_has_a_column_a_skill():
    found = measure.table([row(skills={"facts": 0.9, "code": "not applicable"})])
    assert found.loc[0, "facts"] == 0.9 and found.loc[0, "code"] == "not applicable"
    assert found.loc[0, "bits_per_weight"] == 4.5


def test_select():
    rows = [row(), row("other", lane="awq")]
    assert measure.select(rows, lane="awq") == [rows[1]]


def test_front_is_what_nothing_beats():
    points = [(4, 0.1), (3, 0.5), (8, 0.1), (2, 2.0), (3, 0.6), (16, 0.0)]
    assert measure.pareto_front(points) == [0, 1, 3, 5]


def test_figure_shows_every_row_and_the_noise(tmp_path):
    rows = [row(), row("rtn-w4g128", lane="rtn", kl_mean=0.05), row("noise", lane="noise", kl_mean=1e-4)]
    figure = measure.pareto(rows, "pico")
    axes = figure.axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["gptq-w4g128", "rtn-w4g128"]
    assert "noise: bf16 against fp32" in [text.get_text() for text in axes.get_legend().get_texts()]
    figure.savefig(tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 5000
