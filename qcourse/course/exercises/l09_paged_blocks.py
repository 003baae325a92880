"""Exercise 09.paged_blocks: how much of a paged cache is wasted, and of one reserved at full length."""

from collections.abc import Callable
from functools import partial

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (lengths of requests in tokens, block size, longest length allowed)."""
    return [([16], 16, 32), ([17, 1], 16, 64), ([100, 700, 33, 2048], 16, 2048), ([5, 9, 31], 8, 128)]


def up(length: int, size: int) -> int:
    """Return the blocks that hold a request."""
    return len(range(0, length, size))


def blocks(
    lengths: list[int], size: int, longest: int, each: Callable = up, empty=None, reserved=None
) -> tuple:
    """Return blocks taken, the share of their places left empty, and that of places reserved at `longest`.

    each: blocks of a request; empty: (used, blocks, places) -> share; reserved: places reserved in all.
    """
    used, taken = sum(lengths), sum(each(length, size) for length in lengths)
    of_blocks = empty(used, taken, taken * size) if empty else 1 - used / (taken * size) if taken else 0.0
    return taken, of_blocks, 1 - used / (reserved or len(lengths) * longest)


def shared_blocks(lengths: list[int], size: int, longest: int) -> tuple:
    """Two requests do not share a block here: round up for each request, then add."""
    return *blocks([sum(lengths)], size, longest)[:2], blocks(lengths, size, longest)[2]


def mean_of_shares(lengths: list[int], size: int, longest: int) -> tuple:
    """Add up tokens and places first: the mean of the requests' shares counts a short one like a long one."""
    shares = [blocks([length], size, longest) for length in lengths]
    return blocks(lengths, size, longest)[0], *(sum(s[i] for s in shares) / len(shares) for i in (1, 2))


def turned(change: Callable) -> Callable:
    """Return the right answer changed: change(taken, empty, reserved, lengths, size, longest)."""
    return lambda *case: change(*blocks(*case), *case)


WRONG = (
    shared_blocks, mean_of_shares,
    *slips("A last block that is only begun is taken whole: round up.",
           rounded_down=partial(blocks, each=lambda length, size: length // size),
           nearest=partial(blocks, each=lambda length, size: round(length / size))),
    *slips("A request that fills its last block needs no further one: round up, do not add one.",
           one_added=partial(blocks, each=lambda length, size: length // size + 1)),
    *slips("That is the share in use; asked is the share left empty.",
           filled=turned(lambda taken, empty, reserved, *case: (taken, 1 - empty, 1 - reserved))),
    *slips("Divide by the places held, not by the tokens in use.",
           share_of_the_tokens=turned(lambda taken, empty, reserved, *case: (
               taken, empty / (1 - empty), reserved / (1 - reserved)))),
    *slips("Those are places: divide by the places held for a share.",
           places=turned(lambda taken, empty, reserved, lengths, size, longest: (
               taken, taken * size - sum(lengths), len(lengths) * longest - sum(lengths)))),
    *slips("A block has `size` places: count places, not blocks, against tokens.",
           blocks_for_places=partial(blocks, empty=lambda used, taken, places: 1 - used / taken)),
    *slips("The first answer is the number of blocks, not of their places.",
           tokens=turned(lambda taken, empty, reserved, lengths, size, _: (taken * size, empty, reserved))),
    *slips("Every request has `longest` places reserved, all the same.",
           reserved_once=lambda lengths, size, longest: blocks(lengths, size, longest, reserved=longest),
           longest_of_these=lambda lengths, size, longest: blocks(lengths, size, max(lengths))),
    *slips("Each cache is compared with its own places: paged with the blocks', reserved with the reserved.",
           of_the_reserved=turned(lambda taken, empty, reserved, lengths, size, longest: (
               taken, empty * taken * size / (len(lengths) * longest), reserved)),
           blocks_in_reserved=turned(lambda taken, empty, reserved, lengths, size, longest: (
               taken, empty, 1 - taken * size / (len(lengths) * longest)))),
    *slips("The paged cache's share comes before the reserved one's.",
           exchanged=turned(lambda taken, empty, reserved, *case: (taken, reserved, empty))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, blocks, WRONG,
    praise="Paging wastes at most one block less a token a request; reserving wastes what nobody wrote.",
    tolerance=1e-9
)  # fmt: skip
