"""Keep libraries' notices off the page; errors still show."""

import contextlib
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator

NOWHERE = open(os.devnull, "w")  # never closed: a log handler made while muted keeps it  # noqa: SIM115


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


@contextlib.contextmanager
def only_our_warnings() -> Iterator[None]:
    """Let libraries log errors only, and print qcourse's own warnings as one line on stderr and no others."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="qcourse")
        warnings.showwarning = lambda text, *_, **__: print(f"warning: {text}", file=sys.stderr)
        try:
            yield
        finally:
            logging.disable(disabled)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what the block writes to stdout: in Python, or in C to file descriptor 1."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C still holds would follow to the restored stdout
        os.dup2(kept, 1)
        os.close(kept)
