"""The Kneser-Ney 5-gram against a calculation by hand, and as a distribution."""

import random

import pytest

from qcourse.pico.kneser_ney import KneserNey, count_tables, discount


def test_probabilities_sum_to_one_after_any_context():
    chooser = random.Random(0)
    ids = [chooser.randrange(7) for _ in range(300)]
    model = KneserNey(ids, vocabulary=9)
    for context in [(), (1,), (1, 2), (8, 8, 8, 8), tuple(ids[40:44]), (0, 0, *ids[10:14])]:
        assert sum(model.probability(context, token) for token in range(9)) == pytest.approx(1.0)


def test_a_bigram_by_hand():
    ids = [0, 1, 0, 1, 0, 2]  # bigrams 01 twice, 10 twice, 02 once: discount 1 / (1 + 2*2) = 0.2
    model = KneserNey(ids, vocabulary=4, order=2)
    assert count_tables(ids, 2) == [{(): {1: 1, 0: 1, 2: 1}}, {(0,): {1: 2, 2: 1}, (1,): {0: 2}}]
    assert model.discounts == [discount({(): {1: 1, 0: 1, 2: 1}}), pytest.approx(0.2)]
    unigram = (1 - 0.5) / 3 + 0.5 * 3 / 3 * 0.25  # no count is two: discount 0.5
    assert model.probability((), 1) == pytest.approx(unigram)
    assert model.probability((0,), 1) == pytest.approx((2 - 0.2) / 3 + 0.2 * 2 / 3 * unigram)
    assert model.probability((3,), 1) == pytest.approx(unigram)


def test_perplexity_of_a_loop_is_near_one_and_of_noise_near_the_vocabulary():
    loop = KneserNey([0, 1, 2, 3] * 200, vocabulary=4)
    assert loop.perplexity([0, 1, 2, 3] * 20) < 1.2
    chooser = random.Random(1)
    noise = [chooser.randrange(50) for _ in range(20_000)]
    assert 40 < KneserNey(noise, vocabulary=50).perplexity([chooser.randrange(50) for _ in range(2000)]) < 75
