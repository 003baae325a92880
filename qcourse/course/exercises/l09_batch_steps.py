"""Exercise 09.batch_steps: decoding steps of a static batch and of a continuous one."""

from heapq import heappop, heappush

from qcourse.course.check import Exercise, Misconception


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


EXERCISE = Exercise(
    cases=cases,
    reference=reference,
    misconceptions=(
        Misconception(
            "one at a time",
            lambda lengths, slots: (sum(lengths), sum(lengths)),
            "A step makes one token for every request in a slot, not for one request only.",
        ),
        Misconception(
            "perfect packing",
            lambda lengths, slots: (static(lengths, slots), -(-sum(lengths) // slots)),
            "A request cannot be split over two slots: follow which slot becomes free first.",
        ),
        Misconception(
            "static twice",
            lambda lengths, slots: (static(lengths, slots), static(lengths, slots)),
            "In the continuous batch a slot takes the next request as soon as its own is done.",
        ),
        Misconception(
            "swapped",
            lambda lengths, slots: reference(lengths, slots)[::-1],
            "The static batch comes first in the answer.",
        ),
        Misconception(
            "sorted first",
            lambda lengths, slots: reference(sorted(lengths, reverse=True), slots),
            "Requests start in the order of arrival: nobody knows their length beforehand.",
        ),
    ),
    praise="No request waits for the longest of its batch: that is where throughput under load comes from.",
    tolerance=0,
)
