"""The first line of every lesson: what this run is made of."""

import contextlib
import logging
import os
import platform
import warnings
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NOWHERE = open(os.devnull, "w")  # never closed: a log handler made while muted keeps it  # noqa: SIM115
LIBRARIES = ("torch", "transformers", "bitsandbytes", "gptqmodel", "llmcompressor", "llama-cpp-python")


def begin(lesson: str) -> None:
    """Quiet the libraries' notices and print lesson, model, device, date, machine and versions."""
    quiet()
    from qcourse.models.load import choose_device

    name = Path(os.environ.get("QCOURSE_MODEL") or "pico").name
    print(
        f"Lesson {lesson} on {name}, {choose_device()}, {date.today().isoformat()}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    print(", ".join(f"{name} {installed(name)}" for name in LIBRARIES))


def installed(name: str) -> str:
    """Return the version of an installed distribution, or "absent"."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "absent"


def quiet() -> None:
    """Turn down progress bars and notices that would fill a notebook; errors still show."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch|bitsandbytes|transformers|peft")
    warnings.filterwarnings("ignore", message=".*IProgress not found.*")
    for name in (
        "transformers",
        "gptqmodel",
        "bitsandbytes",
        "compressed_tensors",
        "torchao",
        "torch.utils._pytree",
        "torch.fx._symbolic_trace",
        "httpx",
        "gguf",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drop what the block prints and logs, whatever level a library sets meanwhile. Errors still raise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(NOWHERE), contextlib.redirect_stdout(NOWHERE):
            yield
    finally:
        logging.disable(disabled)
