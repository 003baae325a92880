"""Keep libraries' notices off the page; errors still show."""

import contextlib
import logging
import os
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
