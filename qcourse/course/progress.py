"""What a learner has done: predictions, what was measured after them, exercises passed.

One record an id, such as "06.kl_ratio", in predictions.json of the learner's folder; nothing here raises at a
learner.
"""

import json
from typing import Any

from qcourse.common import home_folder, write_json

FILE = "predictions.json"


class Records:
    """The records on disk; those that could not be written are kept in memory, as long as this session."""

    def __init__(self) -> None:
        self.session: dict[str, dict] = {}

    def note(self, identifier: str, **facts: Any) -> None:
        """Add facts to one record; says so where the learner's folder cannot be written."""
        known = self.all()
        entry = {**known.get(identifier, {}), **facts}
        try:
            write_json(home_folder() / FILE, {**known, identifier: entry})
        except OSError as error:
            self.session[identifier] = entry
            print(f"Kept for this session only: {home_folder()} cannot be written ({error.strerror}).")

    def all(self) -> dict[str, dict]:
        """Return the records by id; a file that is absent or damaged holds none."""
        try:
            stored = json.loads((home_folder() / FILE).read_text())
        except (OSError, ValueError):
            stored = {}
        kept = stored.items() if isinstance(stored, dict) else ()
        return {**{name: entry for name, entry in kept if isinstance(entry, dict)}, **self.session}


def by_lesson(exercises: list[str]) -> list[dict]:
    """Return a row for each lesson: which of the exercises are passed and open, and its predictions.

    A ratio is measured over predicted; None before the measurement, or for a prediction of zero.
    """
    records = Records().all()
    passed = {name for name in exercises if "passed" in records.get(name, {})}
    predicted = [as_row(name, entry) for name, entry in sorted(records.items()) if "value" in entry]
    return [
        {
            "lesson": lesson,
            "passed": [name for name in exercises if name[:2] == lesson and name in passed],
            "open": [name for name in exercises if name[:2] == lesson and name not in passed],
            "predictions": [row for row in predicted if row["id"][:2] == lesson],
        }
        for lesson in sorted({name[:2] for name in (*exercises, *records)})
    ]


def as_row(identifier: str, entry: dict) -> dict:
    """Return one prediction as {id, predicted, measured, ratio}."""
    predicted, measured = entry["value"], entry.get("measured")
    ratio = None if measured is None or not predicted else measured / predicted
    return {"id": identifier, "predicted": predicted, "measured": measured, "ratio": ratio}


def told(row: dict) -> str:
    """Return a lesson's row as lines: exercises, then a line for each prediction."""
    count = len(row["passed"]) + len(row["open"])
    left = f"; open: {', '.join(row['open'])}" if row["open"] and row["passed"] else ""
    lines = [f"{row['lesson']}  {len(row['passed'])} of {count} exercises passed{left}"]
    for each in row["predictions"]:
        found = "not measured yet" if each["measured"] is None else f"measured {each['measured']:.4g}"
        times = "" if each["ratio"] is None else f", {each['ratio']:.3g} times the prediction"
        lines.append(f"    {each['id']}: predicted {each['predicted']:.4g}, {found}{times}")
    return "\n".join(lines)
