"""The runner executes, reuses, reports failures in one line, and the report stands alone."""

import json
from types import SimpleNamespace

import nbformat
import pytest

from qcourse.common import QCourseError, content_hash, data_folder, repository
from qcourse.course import execute as execution
from qcourse.course import keep_reference, report, runner
from qcourse.course.execute import Outcome

SOURCES = {
    "01_good.ipynb": "import os\nprint(os.environ['QCOURSE_HOME'])",
    "02_bad.ipynb": "raise ValueError('no')",
}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a repository with two notebooks and a model folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.yaml").write_text("claims: []\n")
    for name, source in SOURCES.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / "notebooks" / name)
    monkeypatch.setattr(execution, "repository", lambda: tmp_path)
    for name in ("data", "shared", "cache"):
        monkeypatch.setattr(execution, f"{name}_folder", lambda name=name: tmp_path / name)
    monkeypatch.setenv("QCOURSE_MODEL", str(tmp_path / "model"))
    return tmp_path


def test_only_selects_by_the_beginning_of_the_name(checkout):
    assert [path.name for path in execution.notebooks()] == list(SOURCES)
    assert [path.name for path in execution.notebooks(["02"])] == ["02_bad.ipynb"]


@pytest.mark.slow
def test_a_notebook_runs_once_and_is_reused_until_something_changes(checkout, capsys):
    paths, build = execution.notebooks(), checkout / "build" / "notebooks"
    first = runner.run_notebooks(paths, build)
    assert [outcome.state for outcome in first] == ["ran", "failed"]
    assert first[1].error == "ValueError: no"
    executed = nbformat.read(build / "01_good.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text.strip() == str(checkout / "build" / "home")
    second = runner.run_notebooks(paths, build)
    assert [outcome.state for outcome in second] == ["reused", "failed"]
    (checkout / "model" / "config.json").write_text('{"changed": 1}')
    assert runner.run_notebooks(paths[:1], build)[0].state == "ran"
    assert "[1/2] 01_good ... ran" in capsys.readouterr().out


def test_the_key_ignores_outputs_and_sees_sources(checkout):
    path = execution.notebooks()[0]
    key = execution.notebook_key(path)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="old")]
    nbformat.write(notebook, path)
    assert execution.notebook_key(path) == key
    notebook.cells[0].source += "\n1"
    nbformat.write(notebook, path)
    assert execution.notebook_key(path) != key


def newer_library(checkout, monkeypatch):
    """Install a version of torch that never was."""
    other = SimpleNamespace(name="torch", version="99.0")
    monkeypatch.setattr(execution.metadata, "distributions", lambda: [other])


@pytest.mark.parametrize(
    "change",
    [
        lambda checkout, _: (checkout / "data" / "claims.yaml").write_text("claims: [1]"),
        lambda checkout, _: (checkout / "data" / "hardware.yaml").write_text("L4: {}"),
        lambda checkout, _: (checkout / "data" / "eval" / "facts.jsonl").write_text("{}"),
        lambda checkout, _: (checkout / "cache" / "library" / "awq.json").write_text("{}"),
        lambda checkout, _: (checkout / "model" / "config.json").write_text('{"changed": 1}'),
        newer_library,
        lambda _, monkeypatch: monkeypatch.setenv("QCOURSE_DEVICE", "cuda"),
    ],
    ids=["claims", "table", "items", "library run", "model", "version", "device"],
)
def test_the_key_sees_what_a_lesson_depends_on(checkout, monkeypatch, change):
    for folder in ("data/eval", "cache/library"):
        (checkout / folder).mkdir(parents=True)
    key = execution.notebook_key(execution.notebooks()[0])
    assert key == execution.notebook_key(execution.notebooks()[0])
    change(checkout, monkeypatch)
    assert execution.notebook_key(execution.notebooks()[0]) != key


def test_a_lesson_is_reused_until_an_artefact_that_it_saw_changes(checkout, monkeypatch):
    def run_cells(source, target, home):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("{}")
        return ""

    monkeypatch.setattr(execution, "run_cells", run_cells)
    path, build = execution.notebooks()[0], checkout / "build" / "notebooks"
    record = checkout / "shared" / "artefacts" / "gptq-w4g128-gptq" / "recipe.json"
    record.parent.mkdir(parents=True)
    record.write_text("first")
    assert [execution.execute(path, build).state for _ in range(2)] == ["ran", "reused"]
    (record.parent.parent / "model.gguf.recipe.json").write_text("made by a later lesson")
    assert execution.execute(path, build).state == "reused"
    record.write_text("second")
    assert [execution.execute(path, build).state for _ in range(2)] == ["ran", "reused"]


ROW = {
    "lane": "gptq",
    "recipe": "gptq-w4g128",
    "engine": "vllm",
    "bits_per_weight": 4.5,
    "file_bytes": 14e6,
    "perplexity": 31.2,
    "kl_mean": 0.02,
    "kl_p99": 0.3,
    "top1_agreement": 0.95,
    "n_items": 50,
    "skills": {"facts": 0.9, "recall": None, "code": {"accuracy": 0.5}},
    "tokens_per_second": 120.0,
    "intervals": {"kl_mean": [0.018, 0.0222]},
    "model_hash": "abc",
    "evaluation_hash": "e1",
    "machine": "test",
}


def write_rows(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "scoreboard.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_report_shows_rows_reasons_and_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "home"))
    write_rows(tmp_path, [ROW, {**ROW, "engine": "transformers", "kl_mean": 0.0211}])
    outcomes = [Outcome("06_gptq", "failed", 3.0, "2026-01-01", "ValueError: <no>")]
    text = report.write_report(tmp_path, outcomes, {"fp8 on vLLM": "no <kernel> here"}).read_text()
    for part in (
        "gptq",
        "4.5",
        "0.0211",
        "70.0%",
        "n/a",
        "0.018 to 0.022",
        "no &lt;kernel&gt; here",
        "ValueError: &lt;no&gt;",
        "make lab",
        "data:image/png;base64,",
        "S1-32",
    ):
        assert part in text
    assert "<script" not in text and "http://" not in text and "https://" not in text


def test_the_report_without_rows_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path / "home"))
    text = report.write_report(tmp_path, [], {}).read_text()
    assert "No lane was measured" in text and "data:image" not in text


def test_rows_of_another_model_or_evaluation_stay_out(tmp_path):
    write_rows(
        tmp_path,
        [
            {**ROW, "model_hash": "old"},
            {**ROW, "evaluation_hash": "e0", "engine": "x"},
            ROW,
            {**ROW, "kl_mean": 0.5},
        ],
    )
    rows = report.read_rows(tmp_path / "scoreboard.jsonl")
    assert [row["kl_mean"] for row in rows] == [0.5]


def test_a_torn_line_spoils_only_itself(tmp_path):
    write_rows(tmp_path, [ROW])
    with (tmp_path / "scoreboard.jsonl").open("a") as stream:
        stream.write(json.dumps({**ROW, "lane": "awq"})[:-20])
    assert [row["lane"] for row in report.read_rows(tmp_path / "scoreboard.jsonl")] == ["gptq"]


def test_the_model_measured_last_is_shown_also_if_it_was_the_first_once(tmp_path):
    other = {**ROW, "model_hash": "other", "lane": "awq"}
    write_rows(tmp_path, [ROW, other, {**ROW, "kl_mean": 0.5}])
    assert [row["kl_mean"] for row in report.read_rows(tmp_path / "scoreboard.jsonl")] == [0.5]


def test_a_skill_that_does_not_apply_is_never_zero():
    shown = report.cells({**ROW, "skills": {"facts": None}})
    assert shown["skills_mean"] == "not applicable"
    assert report.skill_rows([{**ROW, "skills": {"facts": float("nan")}}])[0]["facts"] == "n/a"


def test_the_readme_shows_rows_that_stand_beside_it(tmp_path):
    """The picture is drawn from rows of the frozen model, every lane among them."""
    from qcourse.lanes import measure_lanes

    folder = data_folder() / "reference"
    rows = report.read_rows(folder / "scoreboard.jsonl")
    assert {row["model_hash"] for row in rows} == {content_hash(data_folder() / "pico")}
    shown = {(row["lane"], row["engine"]) for row in rows}
    assert {(lane.name, lane.engine) for lane in measure_lanes.LANES} <= shown
    assert "data/reference/scoreboard.png" in (repository() / "README.md").read_text(encoding="utf-8")
    assert keep_reference.keep(folder / "scoreboard.jsonl", tmp_path).stat().st_size > 20_000
    with pytest.raises(QCourseError, match="run `make course` first"):
        keep_reference.keep(tmp_path / "none.jsonl", tmp_path)
