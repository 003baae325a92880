"""Checkpoints made by other libraries: AutoGPTQ and AutoAWQ, which fill the hub, and GPTQModel.

The first two are archived upstream and need an old transformers, so they run
in .venv-peers (`make peers`), each as a script that knows nothing of this package.
"""

import json
import subprocess
import sys
from pathlib import Path

from torch import Tensor

from qcourse.common import QCourseError, atomic_folder, repository
from qcourse.lanes.peers.older_format import write_older_copy

ARCHIVED = ("autogptq", "autoawq")
LIBRARIES = (*ARCHIVED, "gptqmodel")


def quantize(
    library: str, model: Path | str, tokens: Tensor, target: Path | str, bits: int = 4,
    group_size: int = 128, desc_act: bool = False,
) -> Path:  # fmt: skip
    """Quantize a model folder with one of LIBRARIES and return the folder of its checkpoint.

    tokens: calibration, int [n_samples, length]; desc_act: GPTQ's order of columns, ignored by AutoAWQ.
    Beside the checkpoint lies dequantized/weights.safetensors: the weights as the library itself
    dequantizes them, float16, by linear. AutoAWQ packs 4 bits only; for others the folder is
    a dense checkpoint of the weights that its search, clipping and rounding give. Raises QCourseError if the
    environment is missing or the library fails.
    """
    if library not in LIBRARIES:
        raise QCourseError(f"unknown library {library!r}; known are {', '.join(LIBRARIES)}")
    python = _python(library)
    target = Path(target)
    with atomic_folder(target) as temporary:
        source = write_older_copy(model, temporary / "source") if library in ARCHIVED else Path(model)
        calibration = temporary / "tokens.json"
        calibration.write_text(json.dumps(tokens.tolist()))
        files = (script(library), source, calibration, temporary / "checkpoint")
        command = [python, "-P", *files, *map(str, (bits, group_size, int(desc_act)))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise QCourseError(f"{library} failed (exit {done.returncode}): {said}; run `make peers` again")
        (temporary / "checkpoint" / "log.txt").write_text(done.stdout + done.stderr)
        _finish(temporary)
    return target


def script(library: str) -> Path:
    """Return the script that calls a library."""
    return Path(__file__).with_name(f"run_{library}.py")


def _python(library: str) -> Path:
    """Return the interpreter that has a library. Raises QCourseError if its environment is missing."""
    if library not in ARCHIVED:
        return Path(sys.executable)
    python = repository() / ".venv-peers" / "bin" / "python"
    if not python.exists():
        raise QCourseError(f"{library} is not installed; run `make peers`")
    return python


def _finish(folder: Path) -> None:
    """Move the checkpoint to the top of its folder, under the name that engines look for."""
    import shutil

    shutil.rmtree(folder / "source", ignore_errors=True)
    (folder / "tokens.json").unlink()
    for path in (folder / "checkpoint").iterdir():
        path.rename(folder / ("model.safetensors" if path.name.startswith("gptq_model-") else path.name))
    (folder / "checkpoint").rmdir()
