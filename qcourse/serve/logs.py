"""What a server's log says about why it stopped."""

import itertools
import re
from pathlib import Path

PREFIX = re.compile(r"^(\([^)]*\)\s*)?((ERROR|WARNING|INFO)\s+[\d-]+ [\d:]+ \[[^\]]*\]\s*)?")
TELLING = re.compile(
    r"(\b\w*(Error|Exception)\b[^:]*:\s*\S)|(\berror:\s)|(Value error,)|(ended with code -\d)", re.I
)
LAST = 400  # lines of a log that are looked at
VAGUE = ("Engine core initialization failed", "WorkerProc initialization failed", "pydantic_core")


def said(log: Path) -> str:
    """Return the text of a log, "" without one; no more than its size, for a device never ends."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        return stream.read(log.stat().st_size).decode(errors="replace")


def cause(log: Path) -> str:
    """Return the last line of a log that names an error, shortened; else its last line.

    Lines that only point to another ("see root cause above") are passed over; after a line that ends in a
    colon, the indented ones that follow belong to it.
    """
    text = said(log).splitlines()[-LAST:]
    clean = [line for raw in text if (line := PREFIX.sub("", raw)).strip()]
    telling = [
        index for index, line in enumerate(clean)
        if TELLING.search(line) and not any(word in line for word in VAGUE)
    ]  # fmt: skip
    last = telling[-1] if telling else len(clean) - 1
    reason = clean[last].strip() if clean else "it printed nothing"
    if reason.endswith(":"):
        further = itertools.takewhile(lambda line: line.startswith(" "), clean[last + 1 :])
        reason = " ".join([reason, "; ".join(map(str.strip, further))])
    return reason[:500]
