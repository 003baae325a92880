"""Exercise 09.batch_steps: decoding steps of a static batch and of a continuous one."""

from collections.abc import Callable
from heapq import heappop, heappush

from qcourse.course.check import Exercise, slips


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
    return max(ends(lengths, slots))


def ends(lengths: list[int], slots: int) -> list[int]:
    """Return the steps at which the slots end."""
    found: list[int] = []
    for length in lengths:
        start = heappop(found) if len(found) == slots else 0
        heappush(found, start + length)
    return found


def reference(lengths: list[int], slots: int) -> tuple[int, int]:
    """Return the steps of both."""
    return static(lengths, slots), continuous(lengths, slots)


def groups(lengths: list[int], slots: int) -> list[list[int]]:
    """Return the requests of each static batch."""
    return [lengths[start : start + slots] for start in range(0, len(lengths), slots)]


def with_static(steps: Callable) -> Callable:
    """Return the answer with other steps of the static batch."""
    return lambda lengths, slots: (steps(lengths, slots), continuous(lengths, slots))


def with_continuous(steps: Callable) -> Callable:
    """Return the answer with other steps of the continuous batch."""
    return lambda lengths, slots: (static(lengths, slots), steps(lengths, slots))


WRONG = (
    *slips("A step makes one token for every request in a slot, not for one request only.",
           one_at_a_time=lambda lengths, slots: (sum(lengths), sum(lengths)),
           static_one_at_a_time=with_static(lambda lengths, slots: sum(lengths)),
           slots_added=with_continuous(lambda lengths, slots: sum(lengths))),
    *slips("A request cannot be split over two slots: follow which slot becomes free first.",
           perfect_packing=with_continuous(lambda lengths, slots: -(-sum(lengths) // slots)),
           packing_down=with_continuous(lambda lengths, slots: sum(lengths) // slots),
           fraction=with_continuous(lambda lengths, slots: sum(lengths) / slots)),
    *slips("In the continuous batch a slot takes the next request as soon as its own is done.",
           static_twice=with_continuous(static),
           second_half_waits=with_continuous(lambda lengths, slots: max(lengths[:slots]) + (
               continuous(lengths[slots:], slots) if lengths[slots:] else 0))),
    *slips("The static batch comes first in the answer.", swapped=lambda *case: reference(*case)[::-1]),
    *slips("Requests start in the order of arrival: nobody knows their length beforehand.",
           sorted_first=lambda lengths, slots: reference(sorted(lengths, reverse=True), slots),
           sorted_up=lambda lengths, slots: reference(sorted(lengths), slots)),
    *slips("Each static batch takes as long as its own longest request; add the batches up.",
           longest_of_all=with_static(lambda lengths, slots: max(lengths) * len(groups(lengths, slots))),
           one_batch=with_static(lambda lengths, slots: max(lengths)),
           shortest=with_static(lambda lengths, slots: sum(map(min, groups(lengths, slots))))),
    *slips("A static batch takes the next `slots` requests in order, the last batch those that are left.",
           last_dropped=with_static(lambda lengths, slots: sum(
               max(group) for group in groups(lengths, slots) if len(group) == slots)),
           strided=with_static(lambda lengths, slots: sum(max(lengths[i::slots]) for i in range(min(slots,
               len(lengths))))),
           overlapping=with_static(lambda lengths, slots: sum(
               max(lengths[i : i + slots]) for i in range(len(lengths) - slots + 1)))),
    *slips("The next request goes to the slot that is free first, not to each in turn.",
           in_turn=with_continuous(lambda lengths, slots: max(sum(lengths[i::slots]) for i in range(slots)))),
    *slips("The work is done when the last slot is done: the largest end.",
           first_end=with_continuous(lambda lengths, slots: min((ends(lengths,
               slots) + slots * [0])[:slots])),
           longest_request=with_continuous(lambda lengths, slots: max(lengths))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="No request waits for the longest of its batch: that is where throughput under load comes from.",
    tolerance=0
)  # fmt: skip
