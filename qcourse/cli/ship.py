"""qcourse ship: check an artefact and say how to serve it."""

import shlex
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcourse.cli.options import Answer, AsJson, answer

if TYPE_CHECKING:
    from qcourse.pipeline.policy import Policy
    from qcourse.pipeline.ship import Gate

ReportFolder = Annotated[
    Path | None,
    typer.Option(help="folder of the dated report, Dockerfile and Kubernetes manifest; default: build/ship"),
]


def command(
    artefact: Annotated[Path, typer.Argument(help="an artefact folder or a .gguf file")],
    baseline: Annotated[str | None, typer.Option(help="the unquantized model, to measure against")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="YAML: limits, engine, tensor_parallel, licences")
    ] = None,
    report: ReportFolder = None,
    json: AsJson = False,
) -> Answer:
    """Check files, record and hash, print launch commands; with --baseline and --policy, decide a release."""
    from qcourse.common import QCourseError
    from qcourse.models import shape
    from qcourse.pipeline.inspect import check
    from qcourse.pipeline.policy import read_policy
    from qcourse.plan import commands

    if (baseline is None) != (policy is None):
        raise QCourseError("a release is decided by --baseline and --policy together; give both or neither")
    rules = read_policy(policy) if policy else None
    found = check(artefact)
    context = min(4096, (shape(found.path).context if found.path.is_dir() else None) or 4096)
    launches = commands(found.path.resolve(), found.format, context=context,
                        gpus=rules.tensor_parallel if rules else 1)  # fmt: skip
    here = f"\n# here\nqcourse serve {shlex.quote(str(found.path))}"
    text = [str(found), here, *(f"\n{launch}" for launch in launches)]
    if rules is None:
        return answer(asdict(found) | {"path": str(artefact)}, json, "\n".join(text))
    values, checks = release(found, baseline, rules)
    values |= {"launch": {launch.server: launch.command for launch in launches}}
    place, beside = write_report(values, report), ""
    if values["launch"].keys() & {"vllm", "llama-cpp-python"}:
        write_containers(place, found, context, rules.tensor_parallel)
        beside = ", beside it a Dockerfile and a Kubernetes manifest"
    verdict = f"{'ships' if values['ships'] else 'does not ship'}; report: {place}{beside}"
    return answer(
        values, json, "\n".join([*text, "", *map(str, checks), verdict]), 0 if values["ships"] else 1
    )


def release(found: Any, baseline: str, rules: "Policy") -> tuple[dict[str, Any], list["Gate"]]:
    """Return what the report says of an artefact, and its gates."""
    from qcourse.pipeline.ship import gates
    from qcourse.recipe.record import read_record

    record = read_record(found.path)
    checks = [*gates(found.path, record, baseline, rules), parallel_gate(found.path, record, baseline, rules)]
    return {
        "artefact": found.path.name, "date": date.today().isoformat(),
        "ships": all(gate.passed for gate in checks), "content": found.hash, "recipe": found.recipe,
        "format": found.format, "baseline": baseline, "policy": asdict(rules),
        "gates": [asdict(gate) for gate in checks],
    }, checks  # fmt: skip


def parallel_gate(path: Path, record: Any, baseline: str, rules: "Policy") -> "Gate":
    """Return whether the policy's number of devices can share the model, with the arithmetic where not."""
    from qcourse.models import shape
    from qcourse.pipeline.ship import gate
    from qcourse.plan.parallel import check_split

    def fits() -> str:
        check_split(shape(baseline), record.recipe, rules.tensor_parallel)
        return f"{rules.tensor_parallel} devices share it in whole heads and groups"

    return gate("tensor parallel", fits)


def write_report(values: dict[str, Any], folder: Path | None) -> Path:
    """Write the report as NAME-DATE.json and .md and return the latter."""
    from qcourse.common import atomic_path, data_folder, results_folder, write_json
    from qcourse.common.templates import filled_in

    place = (folder or results_folder() / "ship") / f"{values['artefact']}-{values['date']}.md"
    write_json(place.with_suffix(".json"), values)
    with atomic_path(place) as temporary:
        temporary.write_text(filled_in(data_folder() / "cards" / "release.md", **values), encoding="utf-8")
    return place


def write_containers(report: Path, found: Any, context: int, gpus: int) -> None:
    """Write a Dockerfile and a Kubernetes manifest of an artefact beside its report."""
    from qcourse.common import atomic_path
    from qcourse.plan.containers import containers

    for name, text in containers(found.path.resolve(), found.format, found.bytes, context, gpus).items():
        with atomic_path(report.with_suffix(f".{name}")) as temporary:
            temporary.write_text(text, encoding="utf-8")
