"""The lessons where models live elsewhere than in CPU memory, as on a GPU: no cell may mix the two."""

import json
import os
import subprocess
import sys

import pytest

from qcourse.common import repository

LIBRARY_CELLS = 3  # of a lesson, at most, with what follows from them


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["01", "02", "03", "04", "06", "07"])
def test_no_cell_mixes_devices(lesson, llama_tied, tmp_path):
    settings = {"QCOURSE_MODEL": str(llama_tied), "QCOURSE_HOME": str(tmp_path), "MPLBACKEND": "agg",
                "QCOURSE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
    command = [sys.executable, "-m", "tests.pretended_lesson", lesson]
    done = subprocess.run(command, cwd=repository(), env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    mixed = [cell for cell in found["failed"] if cell[1] == "MixedDevices" or "use .cpu() first" in cell[2]]
    assert not mixed
    assert len(found["failed"]) <= LIBRARY_CELLS and found["run"] > 10, found["failed"]
