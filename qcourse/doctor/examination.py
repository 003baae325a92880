"""What this machine can run, what it lacks, and the command that mends each lack."""

from dataclasses import asdict, dataclass
from typing import Any

from qcourse.common.tables import data_table
from qcourse.doctor.check_result import CheckResult
from qcourse.doctor.cuda import examine_cuda
from qcourse.doctor.machine_checks import (
    examine_cpu,
    examine_disk,
    examine_engines,
    examine_memory,
    examine_platform,
    lessons,
    tier,
)

SUPPORT = data_table("doctor.yaml")["support"]


@dataclass(frozen=True)
class Examination:
    """Findings in printing order, the tier, and the lessons by what they lack ("" for nothing)."""

    findings: tuple[CheckResult, ...]
    tier: int
    tier_reason: str
    lessons: dict[str, str]

    @property
    def usable(self) -> bool:
        """Whether nothing that every lesson needs is missing."""
        return not any(finding.state == "missing" and finding.essential for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the examination as plain values."""
        return {
            "usable": self.usable,
            "tier": self.tier,
            "tier_reason": self.tier_reason,
            "findings": [asdict(finding) for finding in self.findings],
            "lessons": {name: {"runs": not lack, "lacks": lack} for name, lack in self.lessons.items()},
            "support": SUPPORT,
        }

    def __str__(self) -> str:
        """Return the report for people."""
        lines, area = [], ""
        for finding in self.findings:
            if finding.area != area:
                area = finding.area
                lines += ["", area]
            lines.append(str(finding))
        lines += ["", f"tier {self.tier}: {self.tier_reason}", "", "lessons"]
        lines += [f"  {'part' if lack else 'yes '} {name:34} {lack}".rstrip()
                  for name, lack in self.lessons.items()]  # fmt: skip
        lines += ["", "platforms", *(f"  {name:14} {text}" for name, text in SUPPORT.items())]
        return "\n".join(lines).strip()


def examine() -> Examination:
    """Look at this machine; nothing is started, downloaded or changed."""
    engines = examine_engines()
    machine = examine_platform() + examine_cpu() + examine_cuda() + examine_memory() + examine_disk()
    return Examination((*machine, *engines), *tier(), lessons(engines))
