"""Evaluation windows: which tokens count, and what names them."""

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.measure import EvaluationSet, evaluation_tokens
from qcourse.measure.tokens import as_evaluation_set, join


def test_windows_come_from_the_evaluation_prose_and_say_so(rounded):
    found = evaluation_tokens(rounded.tokenizer, n_windows=4, context=64)
    assert found.tokens.shape == (4, 64) and found.n_tokens == 4 * 63
    for part in ("small (512)", "context 64", "stride 64", "split eval", "252 predicted tokens"):
        assert part in str(found)


def test_windows_are_spread_over_the_whole_text(rounded, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("a scale " * 200 + "The levels. " * 200)
    found = evaluation_tokens(rounded.tokenizer, n_windows=2, context=16, text=file)
    stream = join(rounded.tokenizer, [file.read_text()])
    assert found.tokens[0].equal(stream[:16])
    assert not found.tokens[1].equal(stream[16:32])
    assert found.split == "text.txt"


def test_overlapping_windows_score_every_token_once():
    stream = torch.arange(100)
    windows = torch.stack([stream[i * 10 : i * 10 + 30] for i in range(8)])
    found = EvaluationSet(windows, "eval", "t", stride=10)
    scored = windows[:, 1:][found.scored]
    assert scored.tolist() == list(range(1, 100))


def test_hash_depends_on_tokens_and_stride(tokens):
    first = as_evaluation_set(tokens)
    changed = tokens.clone()
    changed[0, 0] += 1
    assert first.hash == as_evaluation_set(tokens.clone()).hash
    assert first.hash != as_evaluation_set(changed).hash
    assert first.hash != EvaluationSet(tokens, "given tokens", "unnamed", 16).hash


def test_text_that_is_too_short_is_refused_with_numbers(rounded, tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("too short")
    with pytest.raises(QCourseError, match=r"16 windows of 512 .* enough for 0"):
        evaluation_tokens(rounded.tokenizer, text=file)
    with pytest.raises(QCourseError, match="cannot be read"):
        evaluation_tokens(rounded.tokenizer, text=tmp_path / "absent.txt")


def test_one_row_of_ids_is_refused(tokens):
    with pytest.raises(QCourseError, match="context >= 2"):
        as_evaluation_set(tokens[0])
