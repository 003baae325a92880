"""Exercise 09.paged_blocks: how much of a paged cache is wasted, and of one reserved at full length."""

from qcourse.course.check import Exercise


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
    """That is the share in use; asked is the share left empty."""
    taken, empty, reserved = blocks(lengths, size, longest)
    return taken, 1 - empty, 1 - reserved


def rounded_down(lengths: list[int], size: int, longest: int) -> tuple[int, float, float]:
    """A last block that is only begun is taken whole: round up."""
    return blocks(lengths, size, longest, up=False)


def shared_blocks(lengths: list[int], size: int, longest: int) -> tuple[int, float, float]:
    """Two requests do not share a block here: round up for each request, then add."""
    return blocks(lengths, size, longest, together=True)


def share_of_the_tokens(lengths: list[int], size: int, longest: int) -> tuple[int, float, float]:
    """Divide by the places held, not by the tokens in use."""
    return blocks(lengths, size, longest, share_of="used")


EXERCISE = Exercise(
    cases, blocks, (rounded_down, shared_blocks, filled, share_of_the_tokens),
    praise="Paging wastes at most one block less a token a request; reserving wastes what nobody wrote.",
    tolerance=1e-9
)  # fmt: skip
