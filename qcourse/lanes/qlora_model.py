"""The fine-tuned model of the QLoRA lane: an adapter trained on an NF4 base, merged into it dequantized."""

import gc
import json
from datetime import date
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, write_json
from qcourse.pipeline.artefacts import folder_of, is_current, one_builder
from qcourse.pipeline.build import source_facts
from qcourse.recipe import named

STEPS, BATCH, LEARNING_RATE, RANK = 115, 18, 4e-3, 32
REPLAYED, REPLAY_WEIGHT = 5, 1.0


def settings() -> dict[str, Any]:
    """Return what decides the adapter besides the model."""
    return {
        "steps": STEPS, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "rank": RANK,
        "replayed": REPLAYED, "replay_weight": REPLAY_WEIGHT
    }  # fmt: skip


def tuned(base: Any) -> Any:
    """Return the LoadedModel of build/artefacts/qlora-bf16-merged, trained and merged now unless it is there.

    base: the LoadedModel that the adapter is trained on.
    """
    from qcourse import models

    folder = folder_of(named("bf16"), "merged", base, "qlora-")
    with one_builder(folder):
        merged = is_current(folder, named("bf16"), base, **settings())
        if not (merged and is_trained(adapter_folder(base), base)):
            write(folder, base)
    return models.load(folder)


def write(folder: Path, base: Any) -> None:
    """Merge the adapter into the dequantized base that it was trained on, and write the bf16 folder."""
    import copy

    from qcourse import export, finetune

    adapter = finetune.read_adapter(trained(base))
    weights = finetune.dequantized_base(finetune.quantize_base(copy.deepcopy(base.model)))
    merged = finetune.merge(copy.deepcopy(base.model), adapter, weights)
    facts = {"source": source_facts(base.name, base.hash), "made_by": settings()}
    export.save({}, merged, base.tokenizer, folder, "merged", named("bf16"), facts)


def trained(base: Any) -> Path:
    """Return the folder of the adapter, in peft's format with its log, trained now unless it is there."""
    from qcourse.models.memory import trim_memory

    folder = adapter_folder(base)
    with one_builder(folder):
        if not is_trained(folder, base):
            save(folder, *train(base), base)
            gc.collect()
            trim_memory()  # what training held would stay in a notebook's kernel, which shares 2 GB on Binder
    return folder


def adapter_folder(base: Any) -> Path:
    """Return where the adapter of a model is kept."""
    return folder_of(named("bf16"), "adapter", base, "qlora-")


def train(base: Any) -> tuple[Any, Any]:
    """Train an adapter on the new skill, the old ones replayed; return the adapted model and the log.

    The adapter's base is a copy of base.model in NF4; what is replayed are the predictions of base.model
    itself. No evaluation item is trained on.
    """
    import copy

    from qcourse import finetune
    from qcourse.lanes import old_skill_rows
    from qcourse.skills import units

    adapted = finetune.add_adapters(finetune.quantize_base(copy.deepcopy(base.model)), RANK, 2 * RANK)
    rows = finetune.encode(base.tokenizer, units.items("train"))
    old = finetune.Replay(old_skill_rows.rows(base), base.model, REPLAYED, REPLAY_WEIGHT)
    log = finetune.fit(
        adapted, rows, steps=STEPS, batch_size=BATCH, learning_rate=LEARNING_RATE, replay=old, progress=False
    )
    return adapted, log


def save(folder: Path, adapted: Any, log: Any, base: Any) -> None:
    """Write the adapter, and beside it training.json: settings, losses, tokens, seconds, date."""
    from qcourse import finetune

    finetune.save_adapter(adapted, folder)
    losses, replayed = ([round(value, 4) for value in row] for row in (log.losses, log.replay_losses))
    write_json(folder / "training.json", {
        "model_hash": base.hash, "settings": settings(), "losses": losses, "replay_losses": replayed,
        "tokens": log.tokens, "seconds": round(log.seconds, 1), "date": date.today().isoformat(),
    })  # fmt: skip


def is_trained(folder: Path, base: Any) -> bool:
    """Say whether `folder` holds the adapter of this model with these settings."""
    try:
        log = training_log(folder)
    except QCourseError:
        return False
    return (log.get("model_hash"), log.get("settings")) == (base.hash, settings())


def training_log(folder: Path) -> dict[str, Any]:
    """Return training.json of an adapter's folder; QCourseError when there is none."""
    try:
        return json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise QCourseError(
            f"{folder} holds no trained adapter; call qcourse.lanes.qlora_model.trained"
        ) from None


def calibration_texts(tokenizer: Any) -> list[str]:
    """Return what the tuned model is calibrated on: half the new skill, half the prose of the other lanes."""
    from qcourse import finetune, skills
    from qcourse.skills import units

    taught = [tokenizer.decode(row.ids) for row in finetune.encode(tokenizer, units.items("train"))]
    room, kept = sum(map(len, taught)), []
    for text in skills.prose("calibration"):
        kept.append(text)
        if sum(map(len, kept)) > room:
            break
    return taught + kept
