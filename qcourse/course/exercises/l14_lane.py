"""Exercise 14.lane: the fastest way of shipping that fits and is good enough, for five workloads."""

from collections.abc import Callable
from functools import partial

from qcourse.course.check import Exercise, slips

Lane = tuple[
    float, float, float, float
]  # bytes of weights, of cache a token, top-1 agreement, products a second
BF16, FP8, INT8 = (
    (16.1e9, 131_072, 1.0, 200e12),
    (8.6e9, 65_536, 0.985, 400e12),
    (8.7e9, 131_072, 0.99, 300e12),
)
INT4, INT4_FP8, INT3 = (
    (5.7e9, 131_072, 0.955, 200e12),
    (6.1e9, 65_536, 0.96, 120e12),
    (4.4e9, 131_072, 0.9, 150e12),
)
MODEL = (8e9, 1e12)  # parameters, bandwidth


def cases() -> list[tuple]:
    """Return (lanes, parameters, bandwidth, memory, context, batch, floor) of five workloads."""
    return [
        ([FP8, BF16, INT4_FP8, INT8], *MODEL, 9.42e9, 4096, 1, 0.985),  # one user
        (
            [INT4, INT8, INT3, FP8, INT4_FP8],
            *MODEL,
            7_173_741_824,
            4096,
            4,
            0.96,
        ),  # code: one just fits, just good
        (
            [INT8, FP8, INT4_FP8, INT3, BF16, INT4],
            *MODEL,
            109.7e9,
            65_536,
            8,
            0.85,
        ),  # long prompts: the cache decides
        (
            [FP8, BF16, INT3, INT4, INT8, INT4_FP8],
            *MODEL,
            10_747_483_648,
            256,
            128,
            0.955,
        ),  # large batch: arithmetic
        (
            [INT4, BF16, INT3, INT4_FP8, INT8, FP8],
            *MODEL,
            6.09e9,
            8192,
            2,
            0.9,
        ),  # a small device: nothing fits
    ]


def reference(*workload: object) -> int:
    """Return the first index of the least seconds among the lanes that fit and are good enough, or -1.

    Decide by the time of one decode step: bytes over bandwidth, or arithmetic, whichever is longer.
    """
    lanes, parameters, bandwidth, memory, context, batch, floor = workload
    chosen, least = -1, float("inf")
    for index, (weights, token, agreement, products) in enumerate(lanes):
        held = weights + token * context * batch
        seconds = max(held / bandwidth, 2 * parameters * batch / products)
        if held <= memory and agreement >= floor and seconds < least:
            chosen, least = index, seconds
    return chosen


def reading(lane: Lane, workload: tuple) -> float:
    """Return the seconds that reading weights and caches takes."""
    return (lane[0] + lane[1] * workload[4] * workload[5]) / workload[2]


def arithmetic(lane: Lane, workload: tuple) -> float:
    """Return the seconds of the products of one step."""
    return 2 * workload[1] * workload[5] / lane[3]


def choose(*workload,
seconds=lambda lane, load: max(reading(lane, load), arithmetic(lane, load)), none: int = -1,
           held=lambda lane, load: reading(lane, load) * load[2],
           good=lambda agreement, floor: agreement >= floor,
           best: Callable = min, place: bool = False) -> int:  # fmt: skip
    """Choose with something wrong; held: bytes that must fit; place: the place among the lanes left."""
    lanes, memory, floor = workload[0], workload[3], workload[6]
    left = [i for i, lane in enumerate(lanes) if held(lane, workload) <= memory and good(lane[2], floor)]
    if not left:
        return none
    index = best(left, key=lambda i: seconds(lanes[i], workload))
    return left.index(index) if place else index


def with_cache(tokens: Callable) -> Callable:
    """Return the choice with caches of tokens(workload) tokens."""

    def held(lane: Lane, load: tuple) -> float:
        return lane[0] + lane[1] * tokens(load)

    return partial(choose, held=held, seconds=lambda lane, load: max(
        held(lane, load) / load[2], arithmetic(lane, load)))  # fmt: skip


WRONG = (
    *slips("A lane below the floor is no candidate, however fast: see the agreement.",
           any_quality=partial(choose, good=lambda agreement, floor: True)),
    *slips("An agreement that equals the floor is good enough.",
           above_the_floor=partial(choose, good=lambda agreement, floor: agreement > floor)),
    *slips("A good lane agrees at least as often as the floor says.",
           below_the_floor=partial(choose, good=lambda agreement, floor: agreement <= floor)),
    *slips("The cache is missing: context x batch x bytes a token. It must fit, and each step reads it.",
           weights_only=with_cache(lambda load: 0)),
    *slips("The cache is missing from the step's time: each step reads weights and caches.",
           weights_read=partial(choose,
           seconds=lambda lane, load: max(lane[0] / load[2], arithmetic(lane, load)))),
    *slips("Each request of the batch has its own cache: multiply by `batch`.",
           one_request=with_cache(lambda load: load[4])),
    *slips("Weights and all caches together must fit in the memory.",
           all_fit=partial(choose, held=lambda lane, load: 0.0)),
    *slips("A lane that fills the memory to the last byte still fits.",
           less_than_the_memory=lambda *load: choose(*load[:3], load[3] - 1, *load[4:])),
    *slips("A step takes the longer of two times: bytes / bandwidth and 2 x parameters x batch / products a "
           "second. In a large batch the second decides.", bytes_only=partial(choose, seconds=reading)),
    *slips("A step takes the longer of two times: arithmetic decides in a large batch only, else reading.",
           arithmetic_only=partial(choose, seconds=arithmetic)),
    *slips("A step takes the longer of its two times, not their sum: reading and computing overlap.",
           times_added=partial(choose,
           seconds=lambda lane, load: reading(lane, load) + arithmetic(lane, load))),
    *slips("The floor says what is good enough; among those lanes the fastest is asked for, not the best.",
           best_quality=partial(choose, seconds=lambda lane, load: -lane[2])),
    *slips("The smallest weights are not always the fastest lane: caches are read and products made as well.",
           smallest=partial(choose, seconds=lambda lane, load: lane[0])),
    *slips("The fastest lane takes the least time; yours takes the most.", slowest=partial(choose, best=max)),
    *slips("`memory` is without the engine's share already: do not take it off again.",
           share_taken_twice=lambda *load: choose(*load[:3], 0.9 * load[3], *load[4:])),
    *slips("Compare all lanes that are left: neither the first nor the last is always the fastest.",
           last=partial(choose, best=lambda left, key: left[-1]), first=partial(choose,
           seconds=lambda lane, load: 0.0)),
    *slips("That is the place among the lanes left: return the index in the list that came in.",
           place_among_the_candidates=partial(choose, place=True)),
    *slips("Where no lane is left the answer is -1: 0 is the first lane.",
           none_is_zero=partial(choose, none=0)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    WRONG,
    praise="Memory excludes, the floor excludes, and the roofline ranks what is left: in this order.",
    tolerance=0
)  # fmt: skip
