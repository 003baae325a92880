"""Finished measurements on disk, found again by the hash of everything that decided them."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qcourse.common import cache_folder, write_json


@dataclass(frozen=True)
class Cached:
    """A value, the seconds that it took to make and the date when it was made; `fresh`: made just now."""

    value: Any
    seconds: float
    date: str
    fresh: bool

    def __str__(self) -> str:
        return f"{'measured now' if self.fresh else 'from the cache'}: {self.seconds:.1f} s on {self.date}"


def stored(kind: str, key: dict[str, Any]) -> Cached | None:
    """Return the value that a key made before, None where there is none or its file cannot be read."""
    try:
        found = json.loads(place(kind, key).read_text(encoding="utf-8"))
        return Cached(found["value"], found["seconds"], found["date"], False)
    except (OSError, ValueError, KeyError):
        return None


def cached(kind: str, key: dict[str, Any], build: Callable[[], Any]) -> Cached:
    """Return build()'s value, a JSON object, or the stored one that the same key made before.

    key: everything that decides the value (hashes, versions, settings), JSON-able. A stored file that
    cannot be read is made anew; a failed build stores nothing.
    """
    if known := stored(kind, key):
        return known
    start = time.perf_counter()
    value = build()
    made = Cached(value, time.perf_counter() - start, datetime.now(UTC).isoformat(timespec="seconds"), True)
    write_json(place(kind, key), {"key": key, "value": value, "seconds": made.seconds, "date": made.date})
    return made


def place(kind: str, key: dict[str, Any]) -> Path:
    """Return the file that keeps what a key makes."""
    text = json.dumps(key, sort_keys=True)
    return cache_folder() / kind / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
