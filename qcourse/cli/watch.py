"""qcourse watch: a served URL against its unquantized model, until something is wrong."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from qcourse.cli.options import Answer, ApiKey, AsJson, answer


def command(
    url: Annotated[str, typer.Argument(help="an OpenAI-compatible address, such as http://127.0.0.1:8000")],
    baseline: Annotated[str, typer.Option(help="the unquantized model; its answers are stored once")],
    canaries: Annotated[int, typer.Option(help="prompts whose next token is compared")] = 64,
    agreement: Annotated[float, typer.Option(help="lowest share of them without an alarm, 0 to 1")] = 0.95,
    items: Annotated[int, typer.Option(help="questions a skill; 0: none")] = 0,
    traffic: Annotated[Path | None, typer.Option(help='late requests, JSONL of {"text": ...}')] = None,
    usual: Annotated[Path | None, typer.Option(help="ordinary requests of the same kind")] = None,
    window: Annotated[int, typer.Option(help="requests of the traffic that are compared")] = 50,
    metrics: Annotated[Path | None, typer.Option(help="file to write as Prometheus text")] = None,
    every: Annotated[float, typer.Option(help="seconds between looks; 0: look once")] = 0,
    api_key: ApiKey = None,
    json: AsJson = False,
) -> Answer:
    """Replay canaries, compare skills and traffic, show the engine's metrics; exit code 1 on an alarm."""
    from qcourse.calibrate import read_texts
    from qcourse.common import QCourseError
    from qcourse.pipeline.canaries import reference
    from qcourse.pipeline.watch import watch, write_prometheus

    if (traffic is None) != (usual is None):
        raise QCourseError("drift needs both --traffic and --usual; give both or neither")
    if not 0 <= agreement <= 1 or canaries < 1:
        raise QCourseError(
            f"--agreement {agreement} with {canaries} canaries is no check; give 0 to 1, and 1 or more"
        )
    known = reference(baseline, canaries, items)
    texts = [read_texts(path) if path else [] for path in (traffic, usual)]
    while True:
        found = watch(url, known, agreement, api_key=api_key, traffic=texts[0], usual=texts[1], window=window)
        if metrics:
            write_prometheus(found, metrics)
        if found.alarms or not every:
            return answer(asdict(found), json, str(found), 1 if found.alarms else 0)
        print(found, flush=True)
        time.sleep(every)
