"""Exercise 09.batch_steps: decoding steps of a static batch and of a continuous one."""

from heapq import heappop, heappush

from qcourse.course.check import Exercise


def cases() -> list[tuple]:
    """Return (tokens that each request will make, slots), in order of arrival; all wait from the start."""
    return [
        ([4, 4], 2),
        ([8, 2, 3], 2),
        ([8, 1, 2, 9, 1, 1], 2),
        ([5, 20, 3, 7, 7, 1, 30, 2], 4),
        ([3, 3, 3], 1),
    ]


def static(lengths: list[int], slots: int) -> int:
    """Start `slots` requests together and wait for the longest of them before the next start."""
    return sum(max(lengths[start : start + slots]) for start in range(0, len(lengths), slots))


def continuous(lengths: list[int], slots: int) -> int:
    """Give a slot that becomes free to the next request at once."""
    ends: list[int] = []
    for length in lengths:
        start = heappop(ends) if len(ends) == slots else 0
        heappush(ends, start + length)
    return max(ends)


def reference(lengths: list[int], slots: int) -> tuple[int, int]:
    """Return the steps of both."""
    return static(lengths, slots), continuous(lengths, slots)


def one_at_a_time(lengths: list[int], slots: int) -> tuple[int, int]:
    """A step makes one token for every request in a slot, not for one request only."""
    return (sum(lengths), sum(lengths))


def perfect_packing(lengths: list[int], slots: int) -> tuple[int, int]:
    """A request cannot be split over two slots: follow which slot becomes free first."""
    return (static(lengths, slots), -(-sum(lengths) // slots))


def static_twice(lengths: list[int], slots: int) -> tuple[int, int]:
    """In the continuous batch a slot takes the next request as soon as its own is done."""
    return (static(lengths, slots), static(lengths, slots))


def swapped(lengths: list[int], slots: int) -> tuple[int, int]:
    """The static batch comes first in the answer."""
    return reference(lengths, slots)[::-1]


def sorted_first(lengths: list[int], slots: int) -> tuple[int, int]:
    """Requests start in the order of arrival: nobody knows their length beforehand."""
    return reference(sorted(lengths, reverse=True), slots)


EXERCISE = Exercise(
    cases, reference, (one_at_a_time, perfect_packing, static_twice, swapped, sorted_first),
    praise="No request waits for the longest of its batch: that is where throughput under load comes from.",
    tolerance=0
)  # fmt: skip
