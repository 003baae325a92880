"""The scoreboard: one row an artefact measured, kept in a JSON-lines file that survives crashes."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcourse.common import QCourseError, data_folder

if TYPE_CHECKING:
    import pandas


@dataclass
class Row:
    """One artefact measured in one engine. Times in seconds, rates in tokens a second, KL in nats.

    bits_per_weight counts all stored bits over all parameters; skills maps a skill to its accuracy or
    to "not applicable"; intervals maps a figure (or "skills.<name>") to its 95% [low, high];
    tokens_per_second is prefill's. None: not measured. The hashes say what was compared:
    model_hash is the unquantized model's, so that all its artefacts share it.
    """

    recipe: str
    lane: str
    engine: str
    bits_per_weight: float | None = None
    bits_per_quantized_weight: float | None = None
    file_bytes: int | None = None
    perplexity: float | None = None
    kl_mean: float | None = None
    kl_p99: float | None = None
    top1_agreement: float | None = None
    skills: dict[str, float | str] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    n_items: int | None = None
    tokens_per_second: float | None = None
    model_hash: str = ""
    recipe_hash: str = ""
    evaluation_hash: str = ""
    dtype: str = ""
    threads: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    date: str = ""
    ttft: float | None = None
    decode_tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    evaluated_tokens: int | None = None
    build_seconds: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a later row replace an earlier one."""
        return (self.recipe, self.lane, self.engine, self.model_hash, self.recipe_hash, self.evaluation_hash)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Row":
        """Return the row of a JSON object; fields of a newer version are dropped."""
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def append(path: Path | str, row: Row) -> None:
    """Add a row at the end of the file, whole or not at all, also with several writers at once.

    A line cut short by a crash is closed first, so that it spoils only itself.
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with FileLock(f"{path}.lock"), path.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if size and stream.read(1) != b"\n":
            line = b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path | str, latest: bool = True) -> list[Row]:
    """Return the rows of a file in order; of rows with one key only the latest, unless told otherwise.

    Lines that a crash cut short are left out; a missing file has no rows.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [row for line in lines if (row := parse(line))]
    return list({row.key: row for row in rows}.values()) if latest else rows


def parse(line: str) -> Row | None:
    """Return a line's row, or None for a torn line."""
    try:
        return Row.from_dict(json.loads(line))
    except (json.JSONDecodeError, TypeError, AttributeError):
        return None


def comparable(rows: Sequence[Row]) -> None:
    """Raise QCourseError if rows speak of different models, evaluation sets or numbers of items."""
    for name in ("model_hash", "evaluation_hash", "n_items"):
        found = sorted({str(value) for row in rows if (value := getattr(row, name)) not in ("", None)})
        if len(found) > 1:
            raise QCourseError(
                f"these rows mix {len(found)} values of {name} ({', '.join(text[:12] for text in found)}); "
                "figures of different models or evaluation sets cannot be compared, so select one first"
            )


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Return the rows whose fields equal the wanted values, such as model_hash=... or lane="gptq"."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def table(rows: Sequence[Row]) -> "pandas.DataFrame":
    """Return the rows as a pandas table, one column a skill; refuses to mix models or evaluation sets."""
    import pandas

    comparable(rows)
    columns = (
        "recipe", "lane", "engine", "bits_per_weight", "file_bytes", "perplexity", "kl_mean", "kl_p99",
        "top1_agreement", "tokens_per_second", "ttft", "decode_tokens_per_second", "peak_memory_bytes",
        "n_items",
    )  # fmt: skip
    return pandas.DataFrame([{name: getattr(row, name) for name in columns} | row.skills for row in rows])


def kept() -> dict[str, Path]:
    """Return the scoreboards that ship with the course by model, pico's first."""
    folder = data_folder() / "reference"
    others = {path.parent.name: path for path in sorted(folder.glob("*/scoreboard.jsonl"))}
    return {"pico": folder / "scoreboard.jsonl"} | others
