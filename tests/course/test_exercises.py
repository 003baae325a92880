"""Every exercise accepts its reference and meets each known misconception with its own hint."""

import math

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.course.check import check, examine, find, identifiers, outputs

PAIRS = [(name, known.name) for name in identifiers() for known in find(name).misconceptions]


def named(identifier: str, misconception: str):
    return next(known for known in find(identifier).misconceptions if known.name == misconception)


@pytest.mark.parametrize("identifier", identifiers())
def test_reference_passes(identifier):
    exercise = find(identifier)
    assert examine(exercise, exercise.reference).state == "passed"


@pytest.mark.parametrize(("identifier", "misconception"), PAIRS)
def test_each_misconception_gets_its_own_hint(identifier, misconception):
    known = named(identifier, misconception)
    verdict = examine(find(identifier), known.wrong)
    assert (verdict.state, verdict.misconception, verdict.message) == ("failed", known.name, known.hint)


@pytest.mark.parametrize("identifier", identifiers())
def test_untouched_stubs_are_not_tried(identifier, capsys):
    def stub(*arguments):
        raise NotImplementedError

    assert examine(find(identifier), stub).state == "not tried"
    assert examine(find(identifier), lambda *arguments: ...).state == "not tried"
    check(identifier, stub)
    assert "not tried" in capsys.readouterr().out


@pytest.mark.parametrize("identifier", identifiers())
def test_a_raising_or_constant_answer_fails_with_a_message(identifier):
    def raising(*arguments):
        raise IndexError("list index out of range")

    verdict = examine(find(identifier), raising)
    assert verdict.state == "failed" and "IndexError" in verdict.message
    assert examine(find(identifier), lambda *arguments: 12345.678).state == "failed"
    for odd in ("a text", {}, (None,), 10**400, torch.tensor(1 + 2j), torch.zeros(2, 0), torch.ones(2, 3, 4)):
        assert examine(find(identifier), lambda *arguments, odd=odd: odd).state == "failed"


@pytest.mark.parametrize(
    "answer", [lambda right: 0 * right, lambda right: right + 2e-5 * (right == right.max())]
)
def test_an_answer_related_to_nothing_is_told_by_its_numbers_alone(answer):
    exercise = find("02.round_group")
    verdict = examine(exercise, lambda *case: answer(exercise.reference(*case)))
    assert verdict.state == "failed" and verdict.message.startswith("For ")


def test_a_new_mistake_shows_yours_and_expected():
    exercise = find("02.round_group")
    verdict = examine(exercise, lambda group, bits: exercise.reference(group, bits) + 0.01)
    assert verdict.state == "failed" and verdict.misconception is None and "expected" in verdict.message


@pytest.mark.parametrize(("identifier", "answer", "text"), [
    ("08.e4m3_value", lambda right: torch.tensor([right]), "yours is tensor[1] [1], expected 1."),
    ("09.kv_tokens", lambda right: right + 1, "yours is 626, expected 625."),
    ("00.stored_bytes", lambda right: right * (1 + 2e-5), "; with more digits 132.00264 against 132."),
    ("07.scaled_rounding", lambda right: changed(right, (1, 2)), "; first difference at index (1, 2): "),
    ("10.q8_0_block", lambda right: (right[0], changed(right[1], 20)), "; first difference at index 20: "),
    ("10.q8_0_block", lambda right: (right[0][None], right[1]), "yours is (tensor[1] [0.010002], tensor[32]"),
    ("10.q8_0_block", lambda right: right[0], "yours is 0.010002, expected (0.010002, tensor[32]"),
])  # fmt: skip
def test_what_is_shown_of_a_wrong_answer_differs_from_what_is_expected(identifier, answer, text):
    exercise = find(identifier)
    verdict = examine(exercise, lambda *case: answer(exercise.reference(*case)))
    assert (verdict.state, verdict.misconception) == ("failed", None) and text in verdict.message
    yours, expected = verdict.message.partition(" yours is ")[2].split(", expected ")
    assert yours != expected.rstrip(".")


@pytest.mark.parametrize(("identifier", "answer", "text"), [
    ("02.round_group", lambda right, *case: -right, "opposite sign"),
    ("02.rounding_error", lambda right, *case: right * 7, "7 times"),
    ("02.rounding_error", lambda right, *case: right / 7, "1/7 of"),
    ("02.round_group", lambda right, *case: right.flip(0), "in another order"),
    ("02.round_group", lambda right, *case: right[None], "not the shape"),
    ("02.round_group", lambda right, group, bits: group, "what came in"),
    ("02.round_group", lambda right, *case: right / 0, "NaN or infinity"),
    ("02.rounding_error", lambda right, *case: torch.tensor([right, 1.0]), "asked is one"),
    ("10.q8_0_block", lambda right, *case: (right[0], 3 * right[1]), "2 is wrong. Your answer is 3 times"),
    ("10.q8_0_block", lambda right, *case: right[0], "Asked are 2 values"),
    ("09.kv_tokens", lambda right, *case: right + 1, "Yours is 1 more"),
    ("09.kv_tokens", lambda right, *case: right + 0.25, "Yours is 0.25 more"),
    ("09.kv_tokens", lambda right, cache, *case: right + (cache % 7) / 8, "A whole number is asked"),
    ("02.round_group", lambda right, group, bits: right + group[0], "off by the same amount"),
    ("07.scaled_rounding", lambda right, *case: right.abs(), "a sign is lost"),
    ("02.rounding_error", lambda right, *case: right**2, "the square of"),
    ("12.smallest_difference", lambda right, *case: right**0.5, "the root of"),
    ("02.rounding_error", lambda right, *case: 1 / right, "1 over the right"),
    ("02.rounding_error", lambda right, *case: math.log(right), "the logarithm of"),
    ("05.merged_weight", lambda right, o, d, *case: d + 3 * (right - d), "change argument 2 by 3 times"),
    ("05.lora_step", lambda right, x, w, a, *case: (2 * right[0] - a, 9 + right[1]), "argument 3 by 2 times"),
    ("12.mcnemar", lambda right, *case: 1 - right, "the opposite is asked"),
    ("03.int8_product", lambda right, *case: right.round(), "rounded to a whole number"),
    ("03.int8_product", lambda right, *case: right * torch.arange(1, 1 + len(right))[:, None], "Each row of"),
    ("03.int8_product", lambda right, *case: right * torch.arange(1, 1 + right.shape[1]), "Each column of"),
])  # fmt: skip
def test_what_relates_a_wrong_answer_to_the_right_one_is_said(identifier, answer, text):
    exercise = find(identifier)
    verdict = examine(exercise, lambda *case: answer(exercise.reference(*case), *case))
    assert (verdict.state, verdict.misconception) == ("failed", None) and text in verdict.message


@pytest.mark.parametrize("form", [torch.tensor, lambda right: torch.tensor(right).numpy(), list])
def test_a_pair_may_come_as_a_tensor_an_array_or_a_list(form):
    exercise = find("01.paired_bootstrap")
    assert examine(exercise, lambda *case: form(exercise.reference(*case))).state == "passed"


@pytest.mark.parametrize("form", [torch.tensor, lambda right: torch.tensor(right).numpy(), list])
def test_what_relates_a_wrong_pair_is_said_in_any_form(form):
    exercise = find("01.paired_bootstrap")
    verdict = examine(exercise, lambda *case: form([3 * value for value in exercise.reference(*case)]))
    assert verdict.message.startswith("Your answer is 3 times the right one")


def test_a_tensor_may_come_as_a_list_of_its_parts():
    exercise = find("07.scaled_rounding")
    assert examine(exercise, lambda *case: list(exercise.reference(*case))).state == "passed"


def changed(right: torch.Tensor, index) -> torch.Tensor:
    other = right.clone()
    other[index] += 1
    return other


def test_references_are_finite():
    """An answer of NaN is compared as equal to NaN: no right answer may hold one."""
    for exercise in map(find, identifiers()):
        for answer in outputs(exercise.reference, exercise.cases()):
            parts = answer if isinstance(answer, tuple) else (answer,)
            assert all(torch.as_tensor(part).isfinite().all() for part in parts)


def test_printing_is_told_from_returning(capsys):
    verdict = examine(find("09.kv_tokens"), lambda *arguments: print(arguments))
    assert verdict.state == "not tried" and "printing is not returning" in verdict.message


@pytest.mark.parametrize("scale", [
    lambda absmax, bits: 2 * absmax / (2**bits - 1),
    lambda absmax, bits: absmax / (2 ** (bits - 1) - 0.5),
    lambda absmax, bits: absmax / 2 ** (bits - 1),
])  # fmt: skip
@pytest.mark.parametrize("clipped", [True, False])
def test_other_grids_are_recognized_however_they_are_written(scale, clipped):
    def rounded(group, bits):
        step = scale(group.abs().max(), bits)
        codes = (group / step).round()
        return (codes.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if clipped else codes) * step

    assert "another convention" in examine(find("02.round_group"), rounded).message


def test_an_error_taken_after_its_column_was_overwritten_is_told_apart():
    def feed_back(w, q, j, h_inv):
        w = w.clone()
        w[:, j] = q
        w[:, j + 1 :] -= torch.outer((w[:, j] - q) / h_inv[j, j], h_inv[j, j + 1 :])
        return w

    assert "overwritten before" in examine(find("06.feed_back"), feed_back).message


@pytest.mark.parametrize("whole", [math.ceil, round])
def test_tokens_are_counted_exactly(whole):
    """At the usual tolerance one token more or less in 174,762 would pass."""
    exercise = find("09.kv_tokens")

    def kv_tokens(cache, layers, heads, kv_heads, head_dim, width):
        return whole(cache / (2 * layers * kv_heads * head_dim * width))

    verdict = examine(exercise, kv_tokens)
    assert verdict.state == "failed" and "not held: round down" in verdict.message


def test_codes_beyond_three_steps_are_not_clipped():
    """Of 3 bits no code lies beyond 3: a wider grid tells apart who clips."""

    def clipped(w, h, step, damping):
        w, eye = w.clone(), torch.eye(len(h), dtype=h.dtype)
        h_inv = torch.linalg.inv(h + damping * h.diagonal().mean() * eye)
        for j in range(len(h)):
            q = (w[:, j] / step[:, 0]).round().clamp(-3, 3) * step[:, 0]
            w[:, j + 1 :] -= torch.outer((w[:, j] - q) / h_inv[j, j], h_inv[j, j + 1 :])
            w[:, j] = q
            h_inv = h_inv - torch.outer(h_inv[:, j], h_inv[j]) / h_inv[j, j]
        return w

    verdict = examine(find("06.gptq_loop"), clipped)
    assert verdict.state == "failed" and "cut off at 3" in verdict.message


def test_a_bound_that_only_meets_the_margin_does_not_ship():
    def at_least(before, after, margin, draws):
        low = float((after - before)[draws].mean(1).quantile(0.025))
        return low >= -margin, low

    verdict = examine(find("14.ship_gate"), at_least)
    assert verdict.state == "failed" and "exactly at minus the margin" in verdict.message


def awq_search(x, w, bits, exponents, last=False):
    errors = []
    for exponent in exponents:
        s = x.abs().mean(0) ** exponent
        step = (w * s).abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        change = (w * s / step).round() * step / s - w
        errors.append(float((x @ change.T).square().sum()))
    place = len(errors) - 1 - errors[::-1].index(min(errors)) if last else errors.index(min(errors))
    return exponents[place]


def gate(ships):
    def decide(before, after, margin, draws):
        ends = (after - before)[draws].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
        return ships(*ends.tolist(), margin), float(ends[0])

    return decide


@pytest.mark.parametrize(("identifier", "wrong"), [
    ("03.smoothing_scale", lambda x, w, a: (x.abs().amax(0) ** a / w.abs().amax(0) ** (1 - a)).clamp(min=1)),
    ("07.best_exponent", lambda x, w, bits: awq_search(x, w, bits, [i / 20 for i in range(21)], last=True)),
    ("07.best_exponent", lambda x, w, bits: awq_search(x, w, bits, [i / 20 for i in range(1, 21)])),
    ("07.best_exponent", lambda x, w, bits: awq_search(x, w, bits, [i / 20 for i in range(41)])),
    ("14.ship_gate", gate(lambda low, high, margin: low > -margin and high > 0)),
    ("14.ship_gate", gate(lambda low, high, margin: abs(low) < margin)),
])  # fmt: skip
def test_a_wrong_answer_that_few_cases_tell_apart_fails(identifier, wrong):
    assert examine(find(identifier), wrong).state == "failed"


@pytest.mark.parametrize("size", [torch.median, lambda diagonal: diagonal.max() / 2])
def test_gptq_is_damped_by_the_mean_of_the_diagonal(size):
    def damped(w, h, step, damping):
        w, h_inv = (
            w.clone(),
            torch.linalg.inv(h + damping * size(h.diagonal()) * torch.eye(len(h), dtype=h.dtype)),
        )
        for j in range(len(h)):
            q = (w[:, j] / step[:, 0]).round() * step[:, 0]
            w[:, j + 1 :] -= torch.outer((w[:, j] - q) / h_inv[j, j], h_inv[j, j + 1 :])
            w[:, j], h_inv = q, h_inv - torch.outer(h_inv[:, j], h_inv[j]) / h_inv[j, j]
        return w

    assert examine(find("06.gptq_loop"), damped).state == "failed"


def test_a_power_of_two_tells_the_exponent_rounded_down_from_one_less_than_rounded_up():
    exercise = find("08.mxfp4_block")

    def rounded_up(block):
        scale = 2.0 ** (float(block.abs().max().log2().ceil()) - 3)
        levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        return scale, levels[(block.abs()[:, None] / scale - levels).abs().argmin(1)] * block.sign() * scale

    assert examine(exercise, rounded_up).state == "failed"


def test_a_function_that_changes_its_arguments_is_judged_by_its_answers():
    exercise = find("02.round_group")

    def in_place(group, bits):
        answer = exercise.reference(group, bits)
        group.zero_()
        return answer

    assert examine(exercise, in_place).state == "passed"


def test_unknown_exercise_is_named():
    with pytest.raises(QCourseError, match="06.feed_back"):
        find("06.nothing")


@pytest.mark.parametrize("identifier", identifiers())
def test_noise_on_a_right_answer_is_wrong_and_no_misconception(identifier):
    exercise, draw = find(identifier), torch.Generator().manual_seed(0)

    def noisy(value):
        if isinstance(value, (tuple, list)):
            return type(value)(noisy(part) for part in value)
        if isinstance(value, str):
            return value + "?"
        if isinstance(value, dict):
            return {key: noisy(part) for key, part in value.items()}
        exact = torch.as_tensor(value, dtype=torch.float64)
        return exact * (1.01 + 0.02 * torch.rand(exact.shape, generator=draw)) + 0.013

    verdict = examine(exercise, lambda *case: noisy(exercise.reference(*case)))
    assert (verdict.state, verdict.misconception) == ("failed", None)
