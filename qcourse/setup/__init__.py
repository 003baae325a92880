"""Environments, installs and pins: what the course needs on a machine and where each engine lives.

Standard library only: it runs before anything is installed. `ENVIRONMENTS` says what each holds,
`find(name)` where an engine is and in which version, `python -m qcourse.setup.pins` renews what the lock
decides.
"""

from qcourse.setup.engines import ENGINES, Engine, find
from qcourse.setup.environments import ENVIRONMENTS, Environment

__all__ = ["ENGINES", "ENVIRONMENTS", "Engine", "Environment", "find"]
