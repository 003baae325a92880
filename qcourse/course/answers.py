"""Compare a learner's answer with the expected one, and put both into words."""

from typing import Any


def same_all(left: list, right: list, tolerance: float) -> bool:
    """Say whether two lists of answers agree."""
    return all(same(a, b, tolerance) for a, b in zip(left, right, strict=True))


def same(left: Any, right: Any, tolerance: float) -> bool:
    """Compare numbers, tensors, texts, or sequences of them; a wrong type or shape is a difference.

    tolerance: absolute and relative; NaN agrees with NaN, so that a wrong answer of NaN is recognized too.
    A tensor or an array may stand for a sequence, and a list of tensors for a tensor.
    """
    if isinstance(right, (tuple, list)):
        parts = sequence(left)
        return parts is not None and len(parts) == len(right) and same_all(parts, list(right), tolerance)
    if isinstance(right, str):
        return left == right
    different = differences(left, right, tolerance)
    return different is not None and not different.any()


def sequence(value: Any) -> list | None:
    """Return the parts of a sequence, a tensor or an array along its first axis; None of anything else."""
    if isinstance(value, (tuple, list)):
        return list(value)
    return list(value) if getattr(value, "ndim", 0) else None


def differences(left: Any, right: Any, tolerance: float) -> Any:
    """Return where two numbers or tensors differ, bool in their shape, or None if their shapes do."""
    import torch

    left, right = numbers(left), numbers(right)
    if left is None or right is None or left.shape != right.shape:
        return None
    return ~torch.isclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)


def numbers(value: Any) -> Any:
    """Return a number, an array or a list of numbers as a float64 tensor, or None for anything else."""
    import torch

    try:
        if isinstance(value, list) and any(isinstance(part, torch.Tensor) for part in value):
            value = torch.stack([torch.as_tensor(part) for part in value])
        if torch.is_tensor(value) and value.is_complex():
            return None
        return torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def describe(value: Any) -> str:
    """Return a short text of a case or an answer: tensors by shape and first values, integers in full."""
    import torch

    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(describe(part) for part in value) + ")"
    if isinstance(value, torch.Tensor) and value.ndim > 0:
        first = ", ".join(f"{number:.5g}" for number in value.flatten()[:8].tolist())
        return f"tensor{list(value.shape)} [{first}{', ...' if value.numel() > 8 else ''}]"
    if isinstance(value, (float, torch.Tensor)) and not torch.is_complex(torch.as_tensor(value)):
        return f"{float(value):.5g}"
    return repr(value)[:120]


def first_difference(left: Any, right: Any, tolerance: float) -> str:
    """Return what `describe` may leave out: the first place where two answers of one shape differ.

    Two numbers are told with more digits if they read alike; "" where nothing can be added.
    """
    if isinstance(right, (tuple, list)):
        pairs = zip(left, right, strict=False) if isinstance(left, (tuple, list)) else ()
        return next((text for a, b in pairs if (text := first_difference(a, b, tolerance))), "")
    different = None if isinstance(right, str) else differences(left, right, tolerance)
    if different is None or not different.any():
        return ""
    place = tuple(different.nonzero()[0].tolist())
    mine, expected = float(numbers(left)[place]), float(numbers(right)[place])
    if not place:
        alike = f"{mine:.5g}" == f"{expected:.5g}"
        return f"; with more digits {mine:.12g} against {expected:.12g}" if alike else ""
    index = place[0] if len(place) == 1 else place
    return f"; first difference at index {index}: {mine:.9g} against {expected:.9g}"
