"""lm-evaluation-harness beside ours: a local task on folders and on a GGUF file, without network."""

import json

import pytest

from qcourse.pipeline.harness import compared, metrics_of, values_of
from tests.engines import require

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: make extras")

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
{more}
metadata: {{version: 1}}
"""
CHOICE = 'doc_to_choice: "{{choices}}"\ndoc_to_target: right\nmetric_list: [{metric: acc}]'
WORDS = (
    'doc_to_target: "{{choices[right]}}"\ngeneration_kwargs: {until: ["\\n"], max_gen_toks: 8}\n'
    "metric_list: [{metric: exact_match}]"
)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Return a function kind -> a task file of 12 questions on arithmetic."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": f"{a} + {a + 3} =", "choices": [str(2 * a + b) for b in (3, 4, 2)], "right": 0}
            for a in range(11, 23)]  # fmt: skip
    data = folder / "sums.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))

    def made(kind):
        file = folder / f"{kind}.yaml"
        more = CHOICE if kind == "multiple_choice" else WORDS
        file.write_text(TASK.format(name=f"sums_{kind}", data=data, kind=kind, more=more))
        return file

    made.rows = rows
    return made


def own_marks(folder, rows):
    """Return which questions' right answer is the likeliest, from logits of one pass a candidate."""
    import torch

    from qcourse import models

    loaded = models.load(folder)
    marks = []
    for row in rows:
        start = loaded.tokenizer(row["question"]).input_ids
        sums = []
        for choice in row["choices"]:
            ids = loaded.tokenizer(f"{row['question']} {choice}").input_ids
            with torch.no_grad():
                found = loaded.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            sums.append(sum(float(found[i - 1, ids[i]]) for i in range(len(start), len(ids))))
        marks.append(max(range(3), key=sums.__getitem__) == row["right"])
    return marks


def test_a_local_task_on_a_model_and_its_baseline(cli, llama_gqa, task, tmp_path):
    artefact = tmp_path / "rtn"
    assert cli("quantize", llama_gqa, "--method", "rtn-w2g64", "--output", artefact).code == 0
    file = task("multiple_choice")
    found = cli("eval", artefact, "--baseline", llama_gqa, "--tasks", file, "--json")
    assert found.code == 0, found.err
    row = json.loads(found.out)["tasks"]["sums_multiple_choice"]["acc"]
    after, before = (own_marks(folder, task.rows) for folder in (artefact, llama_gqa))
    assert (row["score"], row["baseline"]) == (sum(after) / 12, sum(before) / 12)
    assert row["lost"] == sum(a and not b for a, b in zip(before, after, strict=True))
    assert row["gained"] == sum(b and not a for a, b in zip(before, after, strict=True))


def test_a_gguf_file_is_asked_through_its_server(cli, llama_gqa, task, tmp_path):
    require("gguf")
    file = tmp_path / "model.gguf"
    assert cli("quantize", llama_gqa, "--method", "gguf-f16", "--output", file).code == 0
    tasks = f"{task('multiple_choice')},{task('generate_until')}"
    found = cli("eval", file, "--baseline", llama_gqa, "--tasks", tasks, "--items", 6, "--json")
    assert found.code == 0, found.err
    for task_found in json.loads(found.out)["tasks"].values():
        (row,) = task_found.values()
        assert row["n"] == 6 and row["score"] == row["baseline"] and row["lost"] == row["gained"] == 0


@pytest.mark.parametrize(("tasks", "said"), [("no_such_task", "knows no task no_such_task"),
                                             ("absent.yaml", "cannot be read")])  # fmt: skip
def test_what_is_no_task_is_refused(refused, llama_gqa, tasks, said):
    assert said in refused("eval", llama_gqa, "--tasks", tasks)


def test_flips_recovery_and_metrics_of_a_log():
    def log(marks, kind="none"):
        return [{"doc_id": i, "metrics": ["acc", "f1"], "acc": mark, "f1": mark / 2, "filter": kind}
                for i, mark in enumerate(marks)]  # fmt: skip

    before, after = log([1.0, 1.0, 0.0, 1.0]), log([1.0, 0.0, 1.0, 0.0])[::-1]
    assert metrics_of(before) == ["acc", "f1"] and values_of(after, "acc") == [1.0, 0.0, 1.0, 0.0]
    found = compared({"t": after}, {"t": before})["t"]
    assert {key: found["acc"][key] for key in ("score", "baseline", "lost", "gained")} == {
        "score": 0.5, "baseline": 0.75, "lost": 2, "gained": 1}  # fmt: skip
    assert found["acc"]["recovery"] == pytest.approx(200 / 3) and "lost" not in found["f1"]
    assert metrics_of(log([1.0], "strict")) == ["acc,strict", "f1,strict"]
