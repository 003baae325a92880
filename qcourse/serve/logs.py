"""What a server's log says about why it stopped."""

import itertools
import re
from pathlib import Path

PREFIX = re.compile(r"^(\([^)]*\)\s*)?((ERROR|WARNING|INFO)\s+[\d-]+ [\d:]+ \[[^\]]*\]\s*)?")
TELLING = re.compile(
    r"(\b\w*(Error|Exception)\b[^:]*:\s*\S)|(\berror:\s)|(Value error,)|(ended with code -\d)", re.I
)
VAGUE = ("Engine core initialization failed", "WorkerProc initialization failed", "pydantic_core")


def cause(log: Path, lines: int = 400) -> str:
    """Return the last line of a log that names an error, shortened; else its last line.

    Lines that only point to another ("see root cause above") are passed over; after a line that ends in a
    colon, the indented ones that follow belong to it.
    """
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    clean = [line for raw in text if (line := PREFIX.sub("", raw)).strip()]
    telling = [
        index for index, line in enumerate(clean)
        if TELLING.search(line) and not any(word in line for word in VAGUE)
    ]  # fmt: skip
    last = telling[-1] if telling else len(clean) - 1
    said = clean[last].strip() if clean else "it printed nothing"
    if said.endswith(":"):
        further = itertools.takewhile(lambda line: line.startswith(" "), clean[last + 1 :])
        said = " ".join([said, "; ".join(map(str.strip, further))])
    return said[:500]
