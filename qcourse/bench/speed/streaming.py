"""The peak of memory while a checkpoint streams: a process of its own that watches itself.

`python -m qcourse.bench.speed.streaming FOLDER SEQUENCES` prints the figures as JSON.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from qcourse.bench.speed.clock import row
from qcourse.bench.speed.subjects import made
from qcourse.common import QCourseError

SHARE = 0.35  # of the checkpoint's size
INTERVAL = 0.005  # seconds


def rows(name: str = "llama-1.1b", sequences: int = 16) -> Iterator[dict]:
    """Yield the row of streaming GPTQ over a made checkpoint: anonymous memory beyond the libraries' own."""
    folder = made(name)
    command = [sys.executable, "-m", "qcourse.bench.speed.streaming", str(folder), str(sequences)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise QCourseError(
            f"streaming {name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    yield row(f"stream, {name}, {sequences} x 512: peak beyond libraries / checkpoint",
              (found["peak"] - found["libraries"]) / size, SHARE, False, ours=found["seconds"],
              parts={"checkpoint_MB": size / 1e6, "peak_MB": found["peak"] / 1e6,
                     "libraries_MB": found["libraries"] / 1e6})  # fmt: skip


def anonymous_bytes() -> int:
    """Return this process's resident memory that no file backs; QCourseError where none tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration) as error:
        raise QCourseError("only Linux tells anonymous memory apart; run this part there") from error


def watch(folder: str, sequences: int) -> dict[str, float]:
    """Stream GPTQ over `folder` to an artefact; return the peak, the libraries' part, and seconds."""
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401, part of what the libraries take

    from qcourse import export
    from qcourse.quantize import quantize_folder
    from qcourse.recipe import named

    tokens = torch.randint(0, 1000, (sequences, 512), generator=torch.Generator().manual_seed(0))
    libraries, peak, stop = anonymous_bytes(), [0], threading.Event()

    def look() -> None:
        while not stop.wait(INTERVAL):
            peak[0] = max(peak[0], anonymous_bytes())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        made = quantize_folder(folder, named("gptq-w4g128"), tokens, work, progress=False)
        export.save(made.layers, made.model, None, Path(work, "artefact"), "gptq", made.recipe, made.manifest)
    stop.set()
    watcher.join()
    return {"peak": peak[0], "libraries": libraries, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1], int(sys.argv[2]))))
