"""Run the cells of a lesson with every model on the pretended device: `python -m tests.pretended_lesson 06`.

Prints one JSON line: cells run, and of those that failed the index and the error. Libraries that bring
their own tensors (bitsandbytes, llm-compressor) cannot follow there, so their cells are among the failed.
"""

import json
import sys
from importlib import import_module
from typing import Any

from tests.pretended_device import move, pretended_device


def main(number: str) -> None:
    """Execute the solution notebook of one lesson, cell by cell, whatever fails."""
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell

    from qcourse.common import repository

    with pretended_device():  # before qcourse's decorators take torch.inference_mode
        put_models_there()
        path = next((repository() / "notebooks" / "solutions").glob(f"{number}_*.ipynb"))
        shell, failed, run = InteractiveShell.instance(), [], 0
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
                error, run = shell.run_cell(cell.source).error_in_exec, run + 1
                failed += [] if error is None else [[index, type(error).__name__, str(error)]]
    print("\n" + json.dumps({"run": run, "failed": failed}))


def put_models_there() -> None:
    """Let `models.load` move what it has loaded; QLoRA takes our NF4, since bitsandbytes' cannot move."""
    import qcourse.models
    from qcourse.finetune import qlora

    inside = import_module("qcourse.models.load")
    load = inside.load

    def load_there(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        if getattr(loaded.model, "hf_quantizer", None) is None:
            move(loaded.model)
        return loaded

    inside.load = qcourse.models.load = load_there
    qlora.has_bitsandbytes = qcourse.finetune.has_bitsandbytes = lambda: False


if __name__ == "__main__":
    main(sys.argv[1])
