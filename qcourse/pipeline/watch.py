"""A served model watched from outside: canaries and skills against its bf16 reference, metrics, traffic."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError
from qcourse.pipeline.canaries import Reference

SIGNIFICANT = 0.05
SHOWN = (  # what engines report, and as what the table shows it
    ("vllm:num_requests_running", "running"), ("vllm:num_requests_waiting", "waiting"),
    ("vllm:kv_cache_usage_perc", "KV cache in use"), ("vllm:generation_tokens_total", "tokens made"),
    ("vllm:num_preemptions_total", "preemptions"), ("vllm:prefix_cache_hits_total", "prefix tokens hit"),
    ("llamacpp:requests_processing", "running"), ("llamacpp:requests_deferred", "waiting"),
    ("llamacpp:tokens_predicted_total", "tokens made"),
)  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """One look at a server. agreement: share of canaries answered as the reference, with its 95% interval.

    flips: {skill: {lost, gained, n, p}}; traffic: {distance, limit} once a window is full; metrics: by name.
    alarms: one sentence each.
    """

    agreement: float
    interval: tuple[float, float]
    canaries: int
    flips: dict[str, dict[str, float]] = field(default_factory=dict)
    traffic: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the look as a small table."""
        low, high = self.interval
        lines = [
            f"canaries  {self.agreement:.3f} [{low:.3f}, {high:.3f}] of {self.canaries} as the reference"
        ]
        lines += [f"{name:9} {each['lost']} lost, {each['gained']} gained of {each['n']}, p {each['p']:.2g}"
                  for name, each in self.flips.items()]  # fmt: skip
        if self.traffic:
            lines.append("traffic   distance {distance:.4f}, limit {limit:.4f}".format(**self.traffic))
        lines += [f"{name:17} {value:g}" for name, value in self.metrics.items()]
        lines += [f"ALARM: {alarm}" for alarm in self.alarms] or ["no alarm"]
        return "\n".join(lines)


def watch(url: str, known: Reference, threshold: float = 0.95, *, api_key: str | None = None,
          traffic: Sequence[str] = (), usual: Sequence[str] = (), window: int = 50) -> Watched:  # fmt: skip
    """Look at a server once: QCourseError if it does not answer, alarms in the result.

    threshold: lowest agreement without an alarm; traffic, usual: texts of late and of ordinary requests.
    """
    from qcourse import serve
    from qcourse.measure.statistics import share

    with serve.connect(url, api_key=api_key) as server:
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda prompt: next_token(server, prompt), known.prompts))
        found = share([a.strip() == b.strip() for a, b in zip(said, known.expected, strict=True)])
        flips = changed(server, known)
    moved = drift(known.model, traffic, usual, window) if traffic else {}
    return Watched(found.value, (found.low, found.high), len(said), flips, moved, scraped(url, api_key),
                   alarms(found.value, threshold, flips, moved))  # fmt: skip


def next_token(server: Any, prompt: list[int]) -> str:
    """Return the text of the likeliest next token."""
    answer = server.post("/v1/completions", model=server.model, prompt=prompt, max_tokens=1, temperature=0)
    return answer.json()["choices"][0]["text"]


def changed(server: Any, known: Reference) -> dict[str, dict[str, float]]:
    """Return, by skill, the answers lost and gained against the reference, p adjusted for all of them."""
    from qcourse.measure import skill_scores
    from qcourse.measure.flips import flips_by_skill

    if not known.marks:
        return {}
    marks = skill_scores(server, tuple(known.marks), len(next(iter(known.marks.values()))))["marks"]
    return flips_by_skill(known.marks, marks)


def drift(model: str, traffic: Sequence[str], usual: Sequence[str], window: int) -> dict[str, float]:
    """Return the distance of the traffic's last window from the usual requests, and its limit."""
    from qcourse import serve
    from qcourse.models import resolve
    from qcourse.models.load import load_tokenizer

    tokenizer = load_tokenizer(resolve(model))
    ids = [[tokenizer(text).input_ids for text in texts] for texts in (usual, traffic)]
    report = serve.DriftMonitor(ids[0], len(tokenizer), window).observe(ids[1])
    if report is None:
        raise QCourseError(
            f"{len(traffic)} requests fill no window of {window}; give more, or a smaller --window"
        )
    return {"distance": report.distance, "limit": report.threshold}


def alarms(agreement: float, threshold: float, flips: dict[str, dict[str, float]],
           moved: dict[str, float]) -> list[str]:  # fmt: skip
    """Return one sentence for each thing that is not as it should be."""
    found = [] if agreement >= threshold else [
        f"{agreement:.3f} of the canaries are answered as the reference, below {threshold}"]  # fmt: skip
    found += [f"{skill}: {each['lost']} answers lost, {each['gained']} gained of {each['n']}"
              for skill, each in flips.items()
              if each["p"] < SIGNIFICANT and each["lost"] > each["gained"]]  # fmt: skip
    if moved and moved["distance"] > moved["limit"]:
        found.append("traffic has moved: distance {distance:.4f}, limit {limit:.4f}".format(**moved))
    return found


def scraped(url: str, api_key: str | None) -> dict[str, float]:
    """Return the engine's own counters by the names of the table; none where it shows no metrics."""
    from qcourse import serve

    try:
        page = serve.metrics(url, api_key)
    except QCourseError:
        return {}
    there = {sample.name for sample in page.samples}
    return {label: page.value(name) for name, label in SHOWN if name in there}


def write_prometheus(found: Watched, path: Path) -> None:
    """Write a look as Prometheus text, for a node exporter's folder; the file is replaced whole."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    values = {"canary_agreement": found.agreement, "canaries": found.canaries, "alarms": len(found.alarms)}
    values |= {f"traffic_{name}": value for name, value in found.traffic.items()}
    for name, value in values.items():
        Gauge(f"qcourse_{name}", name.replace("_", " "), registry=registry).set(value)
    for way in ("lost", "gained") if found.flips else ():
        gauge = Gauge(
            f"qcourse_answers_{way}", f"answers {way} against the reference", ["skill"], registry=registry
        )
        for skill, each in found.flips.items():
            gauge.labels(skill).set(each[way])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
