"""The closing table of a test session: one row a lane, one column an engine, what ran in each cell."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

Cells = dict[tuple[str, str], Counter]


def collect(reports: Iterable) -> Cells:
    """Count outcomes by (lane, engine) from the reports that carry an ("engine", ...) property.

    A test counts once for each engine it asked for: as failed if any of its phases failed,
    as skipped if it was skipped, as not run if that was for what the machine lacks, else as passed.
    """
    outcome: dict[tuple[str, str, str], str] = {}
    for report in reports:
        properties = getattr(report, "user_properties", ())
        lacks = dict(properties).get("lacks")
        result = f"NOT RUN (no {lacks})" if lacks and report.outcome == "skipped" else report.outcome
        for key, value in properties:
            if key != "engine":
                continue
            lane, engine = value
            cell = (lane or lane_of(report.nodeid), engine, report.nodeid)
            outcome[cell] = worst(outcome.get(cell, "passed"), result)
    cells: Cells = {}
    for (lane, engine, _), result in outcome.items():
        cells.setdefault((lane, engine), Counter())[result] += 1
    return cells


def worst(first: str, second: str) -> str:
    """Return the graver of two outcomes."""
    return max(first, second, key=lambda outcome: {"passed": 0, "skipped": 1, "failed": 3}.get(outcome, 2))


def lane_of(nodeid: str) -> str:
    """Name the row of a test that named no lane: the folder it lives in."""
    return PurePath(nodeid.split("::")[0]).parent.name or "tests"


def render(cells: Cells, engines: Mapping, find: Callable) -> list[str]:
    """Return the table's lines: the engines with versions, then lanes by engines."""
    names = [name for name in engines if any(engine == name for _, engine in cells)]
    lines = []
    for name in engines:
        found = find(name)
        ran = sum(cell["passed"] for (_, engine), cell in cells.items() if engine == name)
        lines.append(f"{name:20} {found.version if found else 'not installed':22} {ran} tests ran")
    rows = [["lane", *names]]
    for lane in sorted({lane for lane, _ in cells}):
        rows.append([lane, *(describe(cells.get((lane, name), Counter())) for name in names)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) + 1)]
    return (
        lines
        + [""]
        + ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    )


def describe(cell: Counter) -> str:
    """Say what happened in one cell: `3 ran`, `1 FAILED, 2 skipped`, `1 NOT RUN (no AVX-512)`, or a dash."""
    words = {"failed": "FAILED", "passed": "ran", "skipped": "skipped"}
    words |= {key: key for key in cell if key not in words}
    return ", ".join(f"{cell[key]} {word}" for key, word in words.items() if cell[key]) or "-"
