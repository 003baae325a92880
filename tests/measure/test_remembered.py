"""A remembered reference: asked once for the same tokens, never confused, never beyond its limit."""

import pytest
import torch

from qcourse.measure.compare import compare
from qcourse.measure.remembered import Remembered

BYTES = 6 * 31 * 512 * 4  # float32 logits of six windows' 31 predictions, 512 tokens each


@pytest.fixture
def source(fixed):
    """A source that counts how often it was asked."""
    made = fixed(torch.randn(512, 512, generator=torch.Generator().manual_seed(0)))
    made.vocabulary = 512
    return made


def logits(source, tokens, rows=50):
    """Return all chunks as one tensor."""
    return torch.cat(list(source.chunks(tokens, rows)))


def test_the_same_tokens_are_asked_once_and_answered_alike(source, tokens, fixed):
    remembered, other = Remembered(source, BYTES), fixed(source.table + torch.eye(512))
    first = compare(other, tokens, remembered)
    again = compare(other, tokens, remembered)
    assert source.asked == 1 and again.kl.equal(first.kl) and first.kl.min() > 0
    assert first.kl.equal(compare(other, tokens, source).kl)


def test_the_same_ids_in_other_windows_are_other_tokens(source, tokens):
    remembered = Remembered(source, 3 * BYTES)
    for shape in ((6, 32), (12, 16)):
        windows = tokens.view(shape)
        assert logits(remembered, windows).equal(source.table[windows][:, :-1].flatten(0, 1))


def test_chunks_of_another_length_are_not_taken_from_memory(source, tokens):
    remembered = Remembered(source, 3 * BYTES)
    assert [len(chunk) for chunk in remembered.chunks(tokens, 100)] == [100, 86]
    assert [len(chunk) for chunk in remembered.chunks(tokens, 186)] == [186]


def test_what_does_not_fit_is_passed_on_and_not_kept(source, tokens):
    remembered = Remembered(source, BYTES)
    for batch in (tokens, tokens.flip(0), tokens, tokens.flip(0)):
        assert logits(remembered, batch).equal(source.table[batch][:, :-1].flatten(0, 1))
    assert source.asked == 3  # the second batch found no room, the first kept its own
    assert len(remembered.kept) == 1
    assert not Remembered(source, BYTES - 1).fits(tokens)
