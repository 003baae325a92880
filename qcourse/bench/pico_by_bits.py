"""Whether pico is a good subject: what plain rounding costs each skill, and what GPTQ buys at 3 bits.

`python -m qcourse.bench.pico_by_bits` measures, writes data/pico/subject.json, and puts the table at the end
of the model card.
"""

import json
from pathlib import Path
from typing import Any

from qcourse.common import atomic_path, data_folder, write_json
from qcourse.common.templates import filled_in

BITS = (8, 4, 3, 2)
HEADING = "## As a subject of quantization"


def measure_subject(n: int = 200, n_windows: int = 80) -> dict:
    """Return each skill's loss in points by bits, paired over n items, and GPTQ against rounding.

    Rounding: symmetric, groups of 128. losses: {bits: {skill: {"loss", "interval"}}} in points.
    gptq_over_rounding: ratio of mean KL at 3 bits on n_windows x 512 tokens, with its paired interval.
    """
    from qcourse import measure, models
    from qcourse.pipeline import quantized

    base = models.load("pico")
    tokens = measure.evaluation_tokens(base.tokenizer, n_windows, 512)
    marks = {16: skill_marks(base.model, base.tokenizer, n)}
    for bits in BITS:
        model = quantized(models.load("pico"), f"rtn-w{bits}g128").model
        marks[bits] = skill_marks(model, base.tokenizer, n)
        print(f"{bits} bits:", {skill: sum(row) / len(row) for skill, row in marks[bits].items()}, flush=True)
    return {
        "model_hash": base.hash, "n_items": n, "kl_tokens": tokens.n_tokens,
        "accuracy": {str(bits): {skill: sum(row) / len(row) for skill, row in found.items()}
                     for bits, found in marks.items()},
        "losses": {str(bits): losses(marks[16], marks[bits]) for bits in BITS},
        "gptq_over_rounding": gptq_over_rounding(base, tokens),
    }  # fmt: skip


def skill_marks(model: Any, tokenizer: Any, n: int) -> dict[str, list[bool]]:
    """Return right or wrong for n frozen items of each skill."""
    from qcourse import measure
    from qcourse.skills import SKILLS

    return measure.skill_scores(measure.HFSource(model, tokenizer), SKILLS, n)["marks"]


def losses(before: dict[str, list[bool]], after: dict[str, list[bool]]) -> dict[str, dict]:
    """Return each skill's loss in points with its paired 95% interval."""
    from qcourse import measure

    found = {}
    for skill, marks in before.items():
        estimate = measure.paired_bootstrap([100 * m for m in marks], [100 * m for m in after[skill]])
        found[skill] = {"loss": estimate.value, "interval": [estimate.low, estimate.high]}
    return found


def gptq_over_rounding(base: Any, tokens: Any) -> dict:
    """Return KL(bf16 || GPTQ) / KL(bf16 || rounding) at 3 bits, groups of 128, with its paired interval."""
    from qcourse import measure, models
    from qcourse.measure.compare import compare
    from qcourse.pipeline import quantized

    kl = {}
    for name in ("gptq-w3g128", "rtn-w3g128"):
        model = quantized(models.load("pico"), name).model
        kl[name] = compare(model, tokens, base.model).kl.mean(1).numpy()
    ratio = measure.paired_bootstrap(*kl.values(), "ratio")
    return {"kl": {name: float(values.mean()) for name, values in kl.items()},
            "ratio": ratio.value, "interval": [ratio.low, ratio.high]}  # fmt: skip


def summary(found: dict) -> dict[str, float]:
    """Return the figure of each bar from the measured table."""
    mean = {bits: sum(row.values()) / len(row) for bits, row in found["accuracy"].items()}
    loss = {bits: [row["loss"] for row in rows.values()] for bits, rows in found["losses"].items()}
    return {
        "kept_at_8_bits": mean["8"] / mean["16"],
        "lose_10_at_3_bits": sum(value >= 10 for value in loss["3"]),
        "lose_less_than_3_at_3_bits": sum(value < 3 for value in loss["3"]),
        "lose_20_at_2_bits": sum(value >= 20 for value in loss["2"]),
    }


def section(found: dict) -> str:
    """Return the card's section: the table of losses, and each bar beside its figure."""
    return filled_in(data_folder() / "cards" / "pico_by_bits.md", **found, **summary(found))


def write_section(folder: Path, found: dict) -> None:
    """Put the section at the end of README.md, in place of an older one."""
    card = (folder / "README.md").read_text(encoding="utf-8").split(HEADING)[0].rstrip()
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(f"{card}\n\n{section(found)}", encoding="utf-8")


if __name__ == "__main__":
    measured = measure_subject()
    write_json(data_folder() / "pico" / "subject.json", measured)
    write_section(data_folder() / "pico", measured)
    print(json.dumps(summary(measured)), measured["gptq_over_rounding"])
