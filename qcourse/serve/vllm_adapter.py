"""The options with which vLLM serves a LoRA adapter beside its base."""

import json
from pathlib import Path

from qcourse.common import QCourseError

LORA_RANKS = (8, 16, 32, 64, 128, 256)


def adapter_options(adapter: Path | str | None) -> list[str]:
    """Return vLLM's options for one adapter, named "adapter"; vLLM takes certain largest ranks only."""
    if adapter is None:
        return []
    folder = Path(adapter).resolve()
    try:
        rank = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"]
        largest = min(known for known in LORA_RANKS if known >= rank)
    except (OSError, ValueError, KeyError) as error:
        raise QCourseError(
            f"{folder} holds no LoRA adapter of rank {LORA_RANKS[-1]} or less; give a folder in peft's format"
        ) from error
    return ["--enable-lora", "--lora-modules", f"adapter={folder}", "--max-lora-rank", str(largest)]
