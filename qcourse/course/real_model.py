"""What one run of every lane found on pico and on a real model, side by side: the rows in data/reference.

`make real` measures them anew, and QCOURSE_MODEL=smollm2 runs a lesson's own cells on the real model.
"""

from collections.abc import Iterator

from qcourse.common import QCourseError
from qcourse.common.display import interval, show_table
from qcourse.course.report import read_rows
from qcourse.measure import scoreboard


def compare(*lanes: str) -> None:
    """Show the kept rows of these lanes on each model, and where and when they were measured.

    Raises QCourseError for a lane of which no model has a row.
    """
    models = dict(by_model())
    kept = [(model, row) for model, rows in models.items() for row in rows]
    shown = [(model, row) for lane in lanes for model, row in kept if row["lane"] == lane]
    for lane in lanes:
        if lane not in {row["lane"] for _, row in shown}:
            known = ", ".join(sorted({row["lane"] for _, row in kept}))
            raise QCourseError(f"no kept row of a lane {lane!r}; there are {known}; check the spelling")
    show_table([cells(model, row) for model, row in shown])
    for model, rows in models.items():
        print(f"{model}: {rows[-1]['date'][:10]}, {rows[-1]['machine']}")


def by_model() -> Iterator[tuple[str, list[dict]]]:
    """Yield each model whose rows ship with the course, pico first, and its rows."""
    for model, path in scoreboard.kept().items():
        yield model, read_rows(path)


def cells(model: str, row: dict) -> dict[str, object]:
    """Return a row as shown here; KL in nats with its 95% interval."""
    return {
        "lane": f"{row['lane']} in {row['engine']}",
        "model": model,
        "recipe": row["recipe"],
        "bits per weight": row["bits_per_weight"],
        "KL (nats)": row["kl_mean"],
        "95%": interval(row["intervals"].get("kl_mean")),
        "top-1": f"{row['top1_agreement']:.1%}",
        "perplexity": row["perplexity"],
    }
