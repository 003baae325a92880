"""Arithmetic: + and - of whole numbers up to 999, with the steps written out digit by digit."""

import random
import re

from qcourse.skills.item import Item

PHRASINGS = ("Compute {a} {sign} {b}.", "What is {a} {sign} {b}?", "Calculate {a} {sign} {b}.")


def column(x: int, y: int, carry: int, sign: str) -> tuple[int, int]:
    """Return (carry or borrow, digit) of one column."""
    total = x + y + carry if sign == "+" else x - y - carry
    return (total // 10, total % 10) if sign == "+" else (int(total < 0), total % 10)


def steps(a: int, b: int, sign: str) -> str:
    """Return the written-out answer: operands padded to three digits, one line a column, then the result.

    A column reads "8-9-0=19": digits of the units, carry or borrow so far, then
    the new carry or borrow and the digit. A difference below zero is first swapped.
    """
    lines = [f"{a:03d} {sign} {b:03d}"]
    swapped = sign == "-" and a < b
    if swapped:
        a, b = b, a
        lines[0] += f" swap {a:03d} {sign} {b:03d}"
    carry, digits = 0, ""
    for place in (1, 10, 100):
        x, y = a // place % 10, b // place % 10
        new, digit = column(x, y, carry, sign)
        lines.append(f"{x}{sign}{y}{sign}{carry}={new}{digit}")
        carry, digits = new, f"{digit}{digits}"
    padded = f"{carry}{digits}"
    return "\n".join([*lines, padded, f"= {'-' if swapped else ''}{int(padded)}"])


def make(chooser: random.Random) -> Item:
    """Return one sum or difference with operands uniform in 0..999."""
    a, b, sign = chooser.randrange(1000), chooser.randrange(1000), chooser.choice("+-")
    value = a + b if sign == "+" else a - b
    prompt = chooser.choice(PHRASINGS).format(a=a, b=b, sign=sign)
    return Item("arithmetic", prompt, steps(a, b, sign), {"key": f"{a}{sign}{b}", "value": value})


def grade(item: Item, text: str) -> bool:
    """Return whether the last whole number in the text is the value."""
    numbers = re.findall(r"-?\d+", text)
    return bool(numbers) and len(numbers[-1]) < 12 and int(numbers[-1]) == item.meta["value"]
