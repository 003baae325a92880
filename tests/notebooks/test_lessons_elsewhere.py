"""The lessons where models live elsewhere than in CPU memory, as on a GPU: no cell may mix the two."""

import json
import os
import subprocess
import sys

import pytest

from qcourse.common import repository
from tests.small_models import write_small_model

LIBRARY_CELLS = 3  # of a lesson, at most, with what follows from them


def executed(lesson, model, tmp_path):
    """Return what became of a lesson's cells on a model, in a process of its own: {"run", "failed"}."""
    settings = {"QCOURSE_MODEL": str(model), "QCOURSE_HOME": str(tmp_path), "MPLBACKEND": "agg",
                "QCOURSE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-m", "tests.pretended_lesson", lesson]
    done = subprocess.run(
        command, cwd=repository(), env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["01", "02", "03", "04", "06", "07"])
def test_no_cell_mixes_devices(lesson, llama_tied, tmp_path):
    found = executed(lesson, llama_tied, tmp_path)
    mixed = [cell for cell in found["failed"] if cell[1] == "MixedDevices" or "use .cpu() first" in cell[2]]
    assert not mixed
    assert len(found["failed"]) <= LIBRARY_CELLS and found["run"] > 10, found["failed"]


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "width"), [("00", "960"), ("02", "576")])
def test_no_cell_names_a_group_that_the_model_cannot_take(lesson, width, tmp_path):
    found = executed(lesson, write_small_model(tmp_path / "model", width), tmp_path)
    refused = [cell for cell in found["failed"] if "does not divide" in cell[2] or "group" in cell[2]]
    assert not refused and len(found["failed"]) <= LIBRARY_CELLS and found["run"] > 8, found["failed"]
