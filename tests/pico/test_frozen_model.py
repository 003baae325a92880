"""pico-1 is frozen: its weights, and a card and figures that belong to them."""

import hashlib
import json

import pytest

from qcourse.common import data_folder
from qcourse.pico.card import BARS, missed

FOLDER = data_folder() / "pico"
WEIGHTS = "3783d836ffdc2088bca39240c6264811bce753d0282834653292eded184bd63d"
TOKENIZER = "17b44c33c551c9f74df70cc303130e2d9021f1450f7ad432a6f97cb4f2697788"


def test_the_weights_and_the_tokenizer_are_those_of_pico_1():
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
    assert hashlib.sha256((FOLDER / "tokenizer.json").read_bytes()).hexdigest() == TOKENIZER
    assert (FOLDER / "model.safetensors").stat().st_size < 50_000_000


def test_the_card_states_the_figures():
    figures = json.loads((FOLDER / "metrics.json").read_text())
    card = (FOLDER / "README.md").read_text()
    assert set(figures["skills"]) == set(BARS)
    for skill, row in figures["skills"].items():
        assert row["n"] >= 200
        assert f"| {skill} | {row['accuracy']:.1%} |" in card
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    assert f"**{figures['perplexity']:.1f}**" in card
    assert all(line in card for line in missed(figures))


@pytest.mark.slow
def test_the_model_answers_as_the_card_says():
    from qcourse.pico.card import load
    from qcourse.skills import SKILLS, generate, items, score

    model, tokenizer = load(FOLDER)
    asked = [item for skill in SKILLS for item in items(skill, 20)]
    measured = score(lambda questions: generate(model, tokenizer, questions), asked)["skills"]
    stated = json.loads((FOLDER / "metrics.json").read_text())["skills"]
    for skill in SKILLS:
        assert abs(measured[skill]["accuracy"] - stated[skill]["accuracy"]) < 0.3, skill
