"""What this machine can run, what it lacks, and the command that mends each lack: call `examine()`."""

from qcourse.doctor.check_result import CheckResult
from qcourse.doctor.examination import Examination, examine

__all__ = ["CheckResult", "Examination", "examine"]
