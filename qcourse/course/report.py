"""build/report.html: the scoreboard, its figure, what was skipped and why, and the next step, in one file."""

import base64
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from qcourse.common import atomic_path
from qcourse.common.display import short
from qcourse.course import claims, figures
from qcourse.course.execute import Outcome

COLUMNS = {
    "lane": "lane",
    "recipe": "recipe",
    "engine": "engine",
    "bits_per_weight": "bits per weight",
    "file_bytes": "MB",
    "perplexity": "perplexity",
    "kl_mean": "KL mean (nats)",
    "kl_interval": "95%",
    "kl_p99": "KL p99",
    "top1_agreement": "top-1",
    "skills_mean": "skills mean",
    "tokens_per_second": "prefill tokens/s",
    "decode_tokens_per_second": "decode tokens/s",
    "ttft": "TTFT s",
    "peak_memory_bytes": "peak MB",
}


def write_report(build: Path, outcomes: list[Outcome], skipped: dict[str, str]) -> Path:
    """Write build/report.html from build/scoreboard.jsonl and the outcomes."""
    from jinja2 import Environment

    rows = read_rows(build / "scoreboard.jsonl")
    template = Path(__file__).with_name("report_page.html").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            date=datetime.now().strftime("%Y-%m-%d %H:%M"),
            rows=[cells(row) for row in rows],
            columns=COLUMNS,
            skills=skill_rows(rows),
            setting=setting(rows),
            picture=picture(rows),
            skipped=skipped,
            outcomes=outcomes,
            claims=[claims.as_cells(row) for row in claims.rows() if row.figure is not None],
            contradictions=claims.contradictions(),
            open_claims=sum(row.verdict == "open" for row in claims.rows()),
            short=short,
        )
    )
    with atomic_path(build / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return build / "report.html"


def read_rows(path: Path) -> list[dict]:
    """Return the rows of the model and text measured last, of each lane and engine the newest.

    None if nothing was measured; lines that a crash cut short are left out.
    """
    from qcourse.measure import scoreboard

    rows = scoreboard.read(path, latest=False)
    last = {name: getattr(rows[-1], name) for name in ("model_hash", "evaluation_hash")} if rows else {}
    newest = {(row.lane, row.recipe, row.engine): row for row in scoreboard.select(rows, **last)}
    return [asdict(row) for row in newest.values()]


def cells(row: dict) -> dict[str, object]:
    """Return one row as shown: megabytes, mean skill in percent, interval of the KL."""
    known = {key: row.get(key) for key in COLUMNS}
    for name in ("file_bytes", "peak_memory_bytes"):
        known[name] = (row.get(name) or 0) / 1e6 or None
    low, high = (row.get("intervals") or {}).get("kl_mean", (None, None))
    known["kl_interval"] = "" if low is None else f"{low:.2g} to {high:.2g}"
    accuracies = [
        value
        for value in (accuracy(entry) for entry in (row.get("skills") or {}).values())
        if value is not None
    ]
    mean = 100 * sum(accuracies) / max(len(accuracies), 1)
    known["skills_mean"] = f"{mean:.1f}%" if accuracies else "not applicable"
    return {key: short(value) for key, value in known.items()}


def accuracy(entry: object) -> float | None:
    """Return the accuracy of one skill, however the row spells it; None where it does not apply."""
    value = entry.get("accuracy") if isinstance(entry, dict) else entry
    return float(value) if isinstance(value, (int, float)) and value == value else None


def skill_rows(rows: list[dict]) -> list[dict]:
    """Return one line a lane with the percentage of every skill."""
    table = []
    for row in rows:
        values = {name: accuracy(entry) for name, entry in (row.get("skills") or {}).items()}
        shown = {name: "n/a" if value is None else f"{100 * value:.0f}%" for name, value in values.items()}
        table.append({"lane": row.get("lane"), "engine": row.get("engine"), **shown})
    return [line for line in table if len(line) > 2]


def setting(rows: list[dict]) -> dict[str, str]:
    """Return what all rows share: model, evaluation, items, machine, date."""
    keys = ("model_hash", "evaluation_hash", "n_items", "machine", "threads", "date")
    return {key: str(rows[-1].get(key))[:80] for key in keys if rows and rows[-1].get(key)}


def picture(rows: list[dict]) -> str:
    """Return the Pareto figure (bits per weight against KL) as a data URL, or "" without rows."""
    from qcourse.measure import Row, pareto

    drawn = [
        Row.from_dict(row) for row in rows if (row.get("kl_mean") or 0) > 0 and row.get("bits_per_weight")
    ]
    if not drawn:
        return ""
    data = figures.as_png(lambda: pareto(drawn))
    return "data:image/png;base64," + base64.b64encode(data).decode()
