"""`CheckResult`: one thing that the doctor looked at, its state, what follows from it and what mends it."""

from dataclasses import dataclass

MARKS = {"ok": "[ok]", "limited": "[--]", "missing": "[no]"}


@dataclass(frozen=True)
class CheckResult:
    """area and name: what was looked at; state: "ok", "limited" or "missing"; value: what was found.

    means: what follows for the course; mend: the exact command, "" if there is nothing to mend.
    """

    area: str
    name: str
    state: str
    value: str
    means: str = ""
    mend: str = ""
    essential: bool = False

    def __str__(self) -> str:
        """Return the finding's line, and the command under it."""
        text = f"  {MARKS[self.state]} {self.name:20} {self.value}"
        text += f": {self.means}" if self.means else ""
        return text + (f"\n       mend: {self.mend}" if self.mend and self.state != "ok" else "")
