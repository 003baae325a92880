"""What relates a wrong answer to the right one in any exercise: a sign, a factor, an order, a shape."""

from typing import Any

from qcourse.course.answers import numbers, same_all


def relation(answers: list, expected: list, cases: list[tuple], tolerance: float) -> str | None:
    """Return what is the same in every case about wrong answers, or None.

    Of answers in several parts the first wrong part is looked at if another one is right.
    """
    if not all(isinstance(right, tuple) for right in expected):
        return of_values(answers, expected, cases, tolerance)
    pairs = list(zip(answers, expected, strict=True))
    if any(not isinstance(a, (tuple, list)) or len(a) != len(e) for a, e in pairs):
        return None
    mine, right = list(zip(*answers, strict=True)), list(zip(*expected, strict=True))
    wrong = [i for i in range(len(right)) if not same_all(list(mine[i]), list(right[i]), tolerance)]
    if len(wrong) == len(right):
        return of_values(answers, expected, cases, tolerance)
    found = of_values(list(mine[wrong[0]]), list(right[wrong[0]]), cases, tolerance)
    place = f"Of the {len(right)} values that you return, number {wrong[0] + 1} is wrong"
    return f"{place}. {found}" if found else f"{place}."


def of_values(answers: list, expected: list, cases: list[tuple], tolerance: float) -> str | None:
    """Compare the numbers of every case with those expected, and with what came in."""
    mine, right = [flat(answer) for answer in answers], [flat(answer) for answer in expected]
    if any(values is None or not values.numel() for values in mine + right):
        return None
    if all(len(values) == 1 for values in right) and any(len(values) > 1 for values in mine):
        return "Yours holds several numbers, asked is one: is a mean or a sum missing?"
    if any(len(a) != len(b) for a, b in zip(mine, right, strict=True)):
        return None
    if same_all(mine, right, tolerance):
        return "The numbers are right, but not the shape that holds them."
    if any(not values.isfinite().all() for values in mine):
        return "Yours holds NaN or infinity: is something divided by zero?"
    for place in range(len(cases[0])):
        given = [flat(case[place]) for case in cases]
        if any(g is not None and len(g) > 1 for g in given) and same_as(mine, given, tolerance):
            return "Yours is what came in, unchanged."
    return of_scale(mine, right, tolerance)


def of_scale(mine: list, right: list, tolerance: float) -> str | None:
    """Tell a factor that is the same in every case, or the right numbers in another order."""
    place = max(range(len(right)), key=lambda case: float(right[case].abs().max()))
    index = right[place].abs().argmax()
    factor = float(mine[place][index] / right[place][index])
    scaled = [factor * values for values in right]
    if factor and abs(factor - 1) > 0.001 and same_all(mine, scaled, tolerance * abs(factor)):
        if abs(factor + 1) < tolerance:
            return "Yours has the opposite sign in every case."
        times = f"{factor:.4g} times" if abs(factor) > 1 else f"1/{1 / factor:.4g} of"
        return f"Your answer is {times} the right one in every case: look for a factor too many or too few."
    if same_all([values.sort().values for values in mine], [v.sort().values for v in right], tolerance):
        return "These are the right numbers, in another order."
    return None


def same_as(left: list, right: list, tolerance: float) -> bool:
    """Say whether every case has the numbers that came in."""
    return all(b is not None for b in right) and same_all(left, right, tolerance)


def flat(value: Any) -> Any:
    """Return all numbers of an answer as a float64 tensor [n], or None for anything else."""
    import torch

    if isinstance(value, (tuple, list)):
        parts = [flat(part) for part in value]
        return None if not parts or any(part is None for part in parts) else torch.cat(parts)
    found = numbers(value)
    return None if found is None else found.flatten()
