"""Tasks of lm-evaluation-harness on one or two models: its scores and ours of what changed."""

import json
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from statistics import fmean
from typing import Any

from qcourse.common import QCourseError, read_text, results_folder, write_json
from qcourse.pipeline.evaluate import load, source
from qcourse.pipeline.harness_server import of_server


def measure_tasks(model: str, baseline: str | None, tasks: Sequence[str], items: int | None = None,
                  chat: bool = False, api_key: str | None = None) -> dict[str, Any]:  # fmt: skip
    """Return a model's scores, {task: {metric: {score, n, baseline, recovery, lost, gained, p}}}.

    model, baseline: as `qcourse eval` takes them; tasks: names that the harness knows, or task files (.yaml);
    items: questions a task, default all; chat: prompts pass through the chat template.
    recovery: percent of the baseline's score; p: McNemar's exact test, adjusted by Holm for all rows.
    The last five fields are there for a baseline, the last three for answers that are right or wrong.
    The harness's log of each question is written to build/harness.
    Raises QCourseError: the harness is not installed, an unknown task, a data set that is not here.
    """
    if util.find_spec("lm_eval") is None:
        raise QCourseError(
            "lm-evaluation-harness is not installed: make extras, or pip install lm-eval==0.4.13"
        )
    after = samples_of(model, baseline, tasks, items, chat, api_key)
    before = samples_of(baseline, None, tasks, items, chat, api_key) if baseline else {}
    folder = results_folder() / "harness"
    for name, found in ((model, after), (baseline, before)):
        if name:
            write_json(folder / f"{Path(name).name}-{'-'.join(found)}.json", found)
    return {"model": model, "baseline": baseline, "samples": str(folder), "tasks": compared(after, before)}


def samples_of(model: str, baseline: str | None, tasks: Sequence[str], items: int | None, chat: bool,
               api_key: str | None) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Return the harness's log of a model: {task: one dict a question, with its metrics}."""
    if model.endswith(".gguf") or model.startswith(("http://", "https://")):
        with source(model, baseline, api_key) as (server, tokenizer):
            return run(of_server(server, tokenizer), tasks, items, chat)
    from lm_eval.models.huggingface import HFLM

    loaded = load(model)
    return run(HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer), tasks, items, chat)


def run(lm: Any, tasks: Sequence[str], items: int | None, chat: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the log of all tasks; QCourseError with the harness's own reason for what it cannot run."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    files = [Path(task).resolve() for task in tasks if task.endswith((".yaml", ".yml"))]
    names = [task for task in tasks if not task.endswith((".yaml", ".yml"))]
    manager = TaskManager(include_path=sorted({str(file.parent) for file in files}) or None,
                          include_defaults=bool(names))  # fmt: skip
    names += [named_in(file) for file in files]
    if unknown := [name for name in names if not manager.match_tasks([name])]:
        raise QCourseError(f"lm-evaluation-harness knows no task {', '.join(unknown)}; a .yaml file is one, "
                           "and `python -m lm_eval ls tasks` lists its own")  # fmt: skip
    try:
        found = lm_eval.simple_evaluate(model=lm, tasks=names, limit=items, bootstrap_iters=0,
                                        apply_chat_template=chat, task_manager=manager)  # fmt: skip
    except QCourseError:
        raise
    except Exception as error:  # data sets, downloads and task code fail in whatever way they do
        raise QCourseError(f"lm-evaluation-harness stopped: {type(error).__name__}: {error}") from error
    return json.loads(json.dumps(found["samples"], default=str))


def named_in(file: Path) -> str:
    """Return the name of the task in a file."""
    for line in read_text(file).splitlines():
        if line.startswith("task:"):
            return line.removeprefix("task:").strip().strip("'\"")
    raise QCourseError(f"{file} names no task; a task file has a line such as `task: my_task`")


def compared(after: dict[str, list[dict]], before: dict[str, list[dict]]) -> dict[str, dict[str, Any]]:
    """Return scores by task and metric; with a baseline's log, recovery and flips."""
    from qcourse.measure.flips import flips_by_skill

    rows = {
        (task, metric): values_of(log, metric) for task, log in after.items() for metric in metrics_of(log)
    }
    old = {key: values_of(before[key[0]], key[1]) for key in rows if key[0] in before}
    both = {key: rows[key] for key in old if set(rows[key]) | set(old[key]) <= {0.0, 1.0}}
    marks = [{" ".join(key): [value == 1 for value in log[key]] for key in both} for log in (old, both)]
    flipped = flips_by_skill(*marks)
    found: dict[str, dict[str, Any]] = {}
    for key, values in rows.items():
        row: dict[str, Any] = {"score": fmean(values), "n": len(values)}
        if key in old:
            start = fmean(old[key])
            row |= {"baseline": start, "recovery": 100 * row["score"] / start if start else None}
        if key in both:
            row |= {name: flipped[" ".join(key)][name] for name in ("lost", "gained", "p")}
        found.setdefault(key[0], {})[key[1]] = row
    return found


def metrics_of(log: list[dict]) -> list[str]:
    """Return the metrics of a task that are one number a question, as "acc" or "exact_match,filter"."""
    named = {(metric, sample.get("filter", "none")) for sample in log for metric in sample.get("metrics", ())
             if isinstance(sample.get(metric), int | float)}  # fmt: skip
    return [metric if kind == "none" else f"{metric},{kind}" for metric, kind in sorted(named)]


def values_of(log: list[dict], name: str) -> list[float]:
    """Return one metric of every question, in the order of the data set."""
    metric, _, kind = name.partition(",")
    rows = [sample for sample in log if sample.get("filter", "none") == (kind or "none")]
    return [float(sample[metric]) for sample in sorted(rows, key=lambda sample: sample["doc_id"])]
