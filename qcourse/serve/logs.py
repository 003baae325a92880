"""What a server's log says about why it stopped."""

import re
from pathlib import Path

PREFIX = re.compile(r"^(\([^)]*\)\s*)?((ERROR|WARNING|INFO)\s+[\d-]+ [\d:]+ \[[^\]]*\]\s*)?")
TELLING = re.compile(
    r"(\b\w*(Error|Exception)\b[^:]*:\s*\S)|(\berror:\s)|(Value error,)|(ended with code -\d)", re.I
)
VAGUE = ("Engine core initialization failed", "WorkerProc initialization failed", "pydantic_core")


def cause(log: Path, lines: int = 400) -> str:
    """Return the last line of a log that names an error, shortened; else its last line.

    Lines that only point to another ("see root cause above") are passed over.
    """
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    clean = [line for raw in text if (line := PREFIX.sub("", raw).strip())]
    telling = [line for line in clean if TELLING.search(line) and not any(word in line for word in VAGUE)]
    return (telling or clean or ["it printed nothing"])[-1][:300]
