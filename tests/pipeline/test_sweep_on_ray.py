"""A sweep on a Ray cluster of two nodes, of which one is killed: every row there, none twice."""

import os
import signal

import pytest

from qcourse.common import repository
from qcourse.measure import scoreboard
from qcourse.pipeline import sweep

PATIENCE, STARVED = 300, "its nodes stop where their agents do not start within 15 s"
RECIPES = ["rtn-w2g64", "rtn-w3g64", "rtn-w4g64", "rtn-w8g64"]


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A cluster of two nodes with one core each, on the loopback address; as few processes as Ray allows.

    A node gives its agents 15 s to start. On a busy machine most of that goes to a grammar that jsonschema
    compiles and nobody here asks for: its module is made one that cannot be imported.
    """
    (tmp_path / "rfc3987_syntax.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{repository()}")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's name for: listen on 127.0.0.1 only
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    ray = pytest.importorskip("ray", reason="ray is not installed; make extras")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_log_monitor": False}
    head = node | {"include_dashboard": False, "no_monitor": True}
    signal.signal(signal.SIGALRM, lambda *_: pytest.skip(f"Ray gave no answer in {PATIENCE} s: {STARVED}"))
    signal.alarm(PATIENCE)
    try:
        made = Cluster(initialize_head=True, head_node_args=head)
        made.second = made.add_node(**node)
    except Exception as error:  # whatever Ray raises where a node's own processes came too late
        signal.alarm(0)
        pytest.skip(f"Ray did not start ({error}): {STARVED}")
    yield made
    ray.shutdown()
    made.shutdown()
    signal.alarm(0)


@pytest.mark.slow
def test_a_node_that_dies_costs_no_row_and_doubles_none(cluster, llama_gqa, tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_RAY", cluster.address)
    grid = sweep.Sweep(RECIPES, str(llama_gqa), windows=1, context=64, scoreboard=tmp_path / "board.jsonl")
    append, alive = scoreboard.append, [cluster.second]

    def append_and_kill(path, row):
        append(path, row)
        if alive:
            cluster.remove_node(alive.pop(), allow_graceful=False)

    monkeypatch.setattr(scoreboard, "append", append_and_kill)
    rows = sweep.sweep(grid)
    assert [row.recipe for row in rows] == RECIPES and not alive
    written = [row.recipe for row in scoreboard.read(grid.scoreboard, latest=False)]
    assert sorted(written) == sorted(RECIPES)
    monkeypatch.setattr(sweep, "results", lambda grid, names: pytest.fail("measured again") if names else [])
    assert [row.kl_mean for row in sweep.sweep(grid)] == [row.kl_mean for row in rows]
