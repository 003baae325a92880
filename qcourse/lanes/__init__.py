"""What `make course` measures: every lane in its real engine, and the libraries beside ours.

measure_all(print)                  # every lane of LANES: its artefact, its engine, its row
measure_lane(lane, base, tokens)    # one of them
make_all(print)                     # the libraries' runs that are too long for a lesson
full_run(name, base)                # what one of those gave, as a lesson shows it
"""

from qcourse.lanes.lane import LANES, Lane
from qcourse.lanes.library_runs import RUNS, full_run, make_all
from qcourse.lanes.measure_lanes import measure_all, measure_lane

__all__ = ["LANES", "RUNS", "Lane", "full_run", "make_all", "measure_all", "measure_lane"]
