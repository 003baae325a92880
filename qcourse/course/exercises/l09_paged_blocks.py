"""Exercise 09.paged_blocks: how much of a paged cache is wasted, and of one reserved at full length."""

from functools import partial

from qcourse.course.check import Exercise, Misconception


def cases() -> list[tuple]:
    """Return (lengths of requests in tokens, block size, longest length allowed)."""
    return [([16], 16, 32), ([17, 1], 16, 64), ([100, 700, 33, 2048], 16, 2048), ([5, 9, 31], 8, 128)]


def blocks(
    lengths: list[int],
    size: int,
    longest: int,
    up: bool = True,
    together: bool = False,
    share_of: str = "held",
) -> tuple[int, float, float]:
    """Return blocks taken, the share of their places left empty, and that of places reserved at `longest`."""
    used = sum(lengths)
    each = [sum(lengths)] if together else lengths
    taken = sum(len(range(0, length, size)) if up else length // size for length in each)
    held = taken * size
    reserved = len(lengths) * longest
    if share_of == "used":
        return taken, (held - used) / used, (reserved - used) / used
    return taken, 1 - used / held if held else 0.0, 1 - used / reserved


def filled(lengths: list[int], size: int, longest: int) -> tuple[int, float, float]:
    """Return the shares in use."""
    taken, empty, reserved = blocks(lengths, size, longest)
    return taken, 1 - empty, 1 - reserved


EXERCISE = Exercise(
    cases=cases,
    reference=blocks,
    misconceptions=(
        Misconception(
            "rounded down",
            partial(blocks, up=False),
            "A last block that is only begun is taken whole: round up.",
        ),
        Misconception(
            "shared blocks",
            partial(blocks, together=True),
            "Two requests do not share a block here: round up for each request, then add.",
        ),
        Misconception("filled share", filled, "That is the share in use; asked is the share left empty."),
        Misconception(
            "share of the tokens",
            partial(blocks, share_of="used"),
            "Divide by the places held, not by the tokens in use.",
        ),
    ),
    praise="Paging wastes at most one block less a token a request; reserving wastes what nobody wrote.",
    tolerance=1e-9,
)
