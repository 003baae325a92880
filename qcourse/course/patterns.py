"""What relates a wrong answer to the right one in any exercise: a sign, a factor, an order, a shape."""

from collections.abc import Callable
from typing import Any

from qcourse.course.answers import numbers, same_all, sequence


def relation(answers: list, expected: list, cases: list[tuple], tolerance: float) -> str | None:
    """Return what is the same in every case about wrong answers, or None.

    Of answers in several parts the first wrong part is looked at if the parts have nothing in common.
    """
    if not all(isinstance(right, tuple) for right in expected):
        return of_values(answers, expected, cases, tolerance)
    parts = [sequence(answer) for answer in answers]
    if any(p is None or len(p) != len(e) for p, e in zip(parts, expected, strict=True)):
        asked = {len(e) for e in expected}
        return f"Asked are {asked.pop()} values, returned as a tuple." if len(asked) == 1 else None
    mine, right = list(zip(*parts, strict=True)), list(zip(*expected, strict=True))
    wrong = [i for i in range(len(right)) if not same_all(list(mine[i]), list(right[i]), tolerance)]
    if len(wrong) == len(right) and (found := of_values(answers, expected, cases, tolerance)):
        return found
    found = of_values(list(mine[wrong[0]]), list(right[wrong[0]]), cases, tolerance)
    if len(wrong) == len(right):
        return f"Number {wrong[0] + 1} of the values that you return: {found}" if found else None
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
    return (
        of_scale(mine, right, tolerance)
        or of_offset(mine, right, tolerance)
        or of_curve(mine, right, tolerance)
        or of_change(mine, right, cases, tolerance)
        or of_lines([numbers(a) for a in answers], [numbers(e) for e in expected], tolerance)
    )


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


def of_offset(mine: list, right: list, tolerance: float) -> str | None:
    """Tell a term that is the same in every case, or in all numbers of each case, and a number not whole."""
    offsets = [a - b for a, b in zip(mine, right, strict=True)]
    least, first = 10 * tolerance, float(offsets[0][0])
    if all(((offset - first).abs() <= tolerance).all() for offset in offsets) and abs(first) > least:
        more = f"{abs(first):.4g} {'more' if first > 0 else 'less'}"
        return f"Yours is {more} than the right answer in every case: a term too many or too few?"
    if min(map(len, mine)) > 2 and all(
        float((o - o[0]).abs().max()) <= tolerance < least < abs(o[0]) for o in offsets
    ):
        return "Within a case all your numbers are off by the same amount: a term is missing, or there twice."
    whole = all((values == values.round()).all() for values in right)
    if whole and same_all([values.floor() for values in mine], right, 0.0):
        return "A whole number is asked: what is left over does not count."
    return None


def of_curve(mine: list, right: list, tolerance: float) -> str | None:
    """Tell a function that leads from the right numbers to those found."""
    for curve, text in CURVES:
        bent = [curve(values) for values in right]
        fine = tolerance * min(1.0, max(float(values.abs().max()) for values in bent))
        finite = all(values.isfinite().all() for values in bent) and any(values.any() for values in bent)
        if finite and same_all(mine, bent, fine):
            return text
    return None


def of_change(mine: list, right: list, cases: list[tuple], tolerance: float) -> str | None:
    """Tell answers that move what came in too far, not far enough, or the other way."""
    for place in range(len(cases[0])):
        given = [flat(case[place]) for case in cases]
        if any(g is None or len(g) != len(r) or len(g) < 2 for g, r in zip(given, right, strict=True)):
            continue
        moved = [r - g for r, g in zip(right, given, strict=True)]
        found = [a - g for a, g in zip(mine, given, strict=True)]
        largest = [change.abs().argmax() for change in moved]
        factors = [float(f[at] / m[at]) for f, m, at in zip(found, moved, largest, strict=True)]
        if same_all(found, [k * m for k, m in zip(factors, moved, strict=True)], tolerance):
            each = ", ".join(dict.fromkeys(f"{factor:.3g}" for factor in factors))
            return f"You change argument {place + 1} by {each} times what is right: check factor and sign."
    return None


def of_lines(mine: list, right: list, tolerance: float) -> str | None:
    """Tell tables whose rows, or columns, are each right but for a factor of their own."""
    if any(values is None or values.ndim != 2 for values in mine + right) or max(map(len, right)) < 2:
        return None
    for name, turn in (("row", lambda values: values), ("column", lambda values: values.T)):
        pairs = [(turn(a), turn(b)) for a, b in zip(mine, right, strict=True)]
        largest = [b.abs().argmax(1, keepdim=True) for _, b in pairs]
        factors = [
            (a.gather(1, at) / b.gather(1, at)).nan_to_num()
            for (a, b), at in zip(pairs, largest, strict=True)
        ]
        scaled = [factor * b for factor, (_, b) in zip(factors, pairs, strict=True)]
        if same_all([a for a, _ in pairs], scaled, tolerance) and all(factor.all() for factor in factors):
            return f"Each {name} of yours is right up to a factor: is a scale missing, or there twice?"
    return None


CURVES: tuple[tuple[Callable, str], ...] = (
    (lambda values: values.abs(), "Yours are the magnitudes of the right numbers: a sign is lost."),
    (lambda values: values.square(), "Yours is the square of the right answer in every case."),
    (lambda values: values.sqrt(), "Yours is the root of the right answer in every case."),
    (lambda values: 1 / values, "Yours is 1 over the right answer in every case."),
    (lambda values: 1 - values, "Yours is 1 minus the right answer in every case: the opposite is asked."),
    (lambda values: values.log(), "Yours is the logarithm of the right answer in every case."),
    (lambda values: values.round(), "Yours is the right answer rounded to a whole number."),
)  # fmt: skip


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
