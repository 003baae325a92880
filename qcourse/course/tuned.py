"""The fine-tuned model of the QLoRA lane: an adapter trained on an NF4 base, merged into it dequantized."""

from typing import Any

from qcourse.recipe import named

STEPS, BATCH, LEARNING_RATE = 120, 20, 5e-3


def tuned(base: Any) -> Any:
    """Return the LoadedModel of build/artefacts/bf16-qlora, trained and merged now unless it is there.

    base: the LoadedModel that the adapter is trained on.
    """
    from qcourse import models
    from qcourse.common import repository
    from qcourse.course.artefacts import is_current

    folder = repository() / "build" / "artefacts" / "bf16-qlora"
    if not is_current(folder, named("bf16"), base.hash):
        write(folder, base)
    return models.load(folder)


def write(folder: Any, base: Any) -> None:
    """Train the adapter on the new skill, merge it into the dequantized base, write the bf16 folder."""
    import copy

    from qcourse import export, finetune

    adapted = finetune.quantize_base(copy.deepcopy(base.model))
    weights = finetune.dequantized_base(adapted)
    adapted = finetune.add_adapters(adapted)
    rows = finetune.encode(base.tokenizer, finetune.units.items("train"))
    log = finetune.fit(adapted, rows, steps=STEPS, batch_size=BATCH, learning_rate=LEARNING_RATE,
                       progress=False)
    merged = finetune.merge(copy.deepcopy(base.model), finetune.deltas(adapted), weights)
    manifest = {"model_hash": base.hash, "steps": STEPS, "loss": round(log.losses[-1], 4)}
    export.save({}, merged, base.tokenizer, folder, "merged", named("bf16"), manifest)


def calibration_texts(tokenizer: Any) -> list[str]:
    """Return what the tuned model is calibrated on: half the new skill, half the prose of the other lanes."""
    from qcourse import finetune, skills

    taught = [tokenizer.decode(row.ids) for row in finetune.encode(tokenizer, finetune.units.items("train"))]
    prose, kept, size = skills.prose("calibration"), [], 0
    for text in prose:
        kept.append(text)
        size += len(text)
        if size > sum(len(line) for line in taught):
            break
    return taught + kept
