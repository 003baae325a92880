"""The Kneser-Ney 5-gram against a calculation by hand, and as a distribution."""

import random

import numpy as np
import pytest

from qcourse.pico.kneser_ney import KneserNey, count_tables, discount


def test_probabilities_sum_to_one_after_any_context():
    chooser = random.Random(0)
    ids = [chooser.randrange(7) for _ in range(300)]
    model = KneserNey(ids, vocabulary=9)
    for context in [(1,), (1, 2), (8, 8, 8, 8), tuple(ids[40:44]), (0, 0, *ids[10:14])]:
        total = sum(model.probabilities([*context, token])[-1] for token in range(9))
        assert total == pytest.approx(1.0)


def test_a_bigram_by_hand():
    ids = [0, 1, 0, 1, 0, 2]  # bigrams 01 twice, 10 twice, 02 once: discount 1 / (1 + 2*2) = 0.2
    model = KneserNey(ids, vocabulary=4, order=2)
    unigrams, bigrams = ([part.tolist() for part in table] for table in count_tables(ids, 4, 2))
    assert unigrams == [[0, 1, 2], [1, 1, 1]]
    assert bigrams == [[1, 2, 4], [2, 1, 2]]  # 0 1, 0 2 and 1 0 in base 4
    assert model.discounts == [discount(np.array([1, 1, 1])), pytest.approx(0.2)]
    unigram = (1 - 0.5) / 3 + 0.5 * 3 / 3 * 0.25  # no count is two: discount 0.5
    assert model.probabilities([0, 1])[0] == pytest.approx((2 - 0.2) / 3 + 0.2 * 2 / 3 * unigram)
    assert model.probabilities([3, 1])[0] == pytest.approx(unigram)


def test_a_trigram_counts_what_stands_before_it_once():
    ids = [0, 1, 2, 3, 1, 2, 0, 1, 2]  # 0 1 2 twice, 3 1 2 once: as a bigram 1 2 has two predecessors
    unigrams, bigrams, trigrams = ([part.tolist() for part in table] for table in count_tables(ids, 4, 3))
    assert dict(zip(*trigrams, strict=True))[0 * 16 + 1 * 4 + 2] == 2
    assert dict(zip(*bigrams, strict=True))[1 * 4 + 2] == 2
    assert dict(zip(*unigrams, strict=True))[2] == 1


def test_too_many_tokens_for_63_bits_are_refused():
    with pytest.raises(ValueError, match="63 bits"):
        KneserNey([0, 1], vocabulary=10_000)


def test_perplexity_of_a_loop_is_near_one_and_of_noise_near_the_vocabulary():
    loop = KneserNey([0, 1, 2, 3] * 200, vocabulary=4)
    assert loop.perplexity([0, 1, 2, 3] * 20) < 1.2
    chooser = random.Random(1)
    noise = [chooser.randrange(50) for _ in range(20_000)]
    assert 40 < KneserNey(noise, vocabulary=50).perplexity([chooser.randrange(50) for _ in range(2000)]) < 75
