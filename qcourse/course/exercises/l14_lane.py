"""Exercise 14.lane: the fastest way of shipping that fits and is good enough, for five workloads."""

from collections.abc import Callable

from qcourse.course.check import Exercise, slip

LANES = [  # weights in bytes, cache in bytes a token, top-1 agreement with bf16, products a second
    (16.1e9, 131_072, 1.000, 200e12),
    (8.6e9, 65_536, 0.985, 400e12),
    (5.7e9, 131_072, 0.955, 200e12),
    (4.4e9, 131_072, 0.900, 150e12),
]
PARAMETERS, BANDWIDTH = 8e9, 1e12


def cases() -> list[tuple]:
    """Return (lanes, parameters, bandwidth, memory, context, batch, floor) of five workloads."""
    return [
        (LANES, PARAMETERS, BANDWIDTH, 6_236_870_912, 4096, 1, 0.95),  # one user, a good 4-bit file just fits
        (LANES, PARAMETERS, BANDWIDTH, 21.6e9, 2048, 8, 0.985),  # code: 4 bits are not good enough
        (LANES, PARAMETERS, BANDWIDTH, 43.2e9, 32_768, 4, 0.85),  # long context: the cache decides
        (LANES, PARAMETERS, BANDWIDTH, 200e9, 128, 64, 0.85),  # a large batch: arithmetic decides
        (LANES, PARAMETERS, BANDWIDTH, 5.4e9, 8192, 1, 0.85),  # a small device: nothing fits
    ]


def choose(
    workload: tuple, seconds: Callable | None = None, bytes_of: Callable | None = None, floor: bool = True
) -> int:
    """Return the first index of the least seconds among the lanes that fit and are good enough, or -1."""
    lanes, parameters, bandwidth, memory, context, batch, lowest = workload
    whole = bytes_of or (lambda lane: lane[0] + lane[1] * context * batch)
    speed = seconds or (lambda lane: max(whole(lane) / bandwidth, 2 * parameters * batch / lane[3]))
    allowed = [
        index for index, lane in enumerate(lanes)
        if whole(lane) <= memory and (lane[2] >= lowest or not floor)
    ]  # fmt: skip
    return min(allowed, key=lambda index: speed(lanes[index]), default=-1)


def reference(*workload: object) -> int:
    """Decide by the time of one decode step: bytes over bandwidth, or arithmetic, whichever is longer."""
    return choose(workload)


def times(lane: tuple, workload: tuple) -> tuple[float, float]:
    """Return the seconds of reading and of arithmetic of one step."""
    _, parameters, bandwidth, _, context, batch, _ = workload
    return (lane[0] + lane[1] * context * batch) / bandwidth, 2 * parameters * batch / lane[3]


def place(workload: tuple) -> int:
    """Return the place of the answer among the lanes that fit and are good enough."""
    lanes, _, _, memory, context, batch, lowest = workload
    left = [lane for lane in lanes if lane[0] + lane[1] * context * batch <= memory and lane[2] >= lowest]
    return left.index(lanes[choose(workload)]) if left else -1


def any_quality(*workload: object) -> int:
    """A lane below the floor is no candidate, however fast: see the agreement."""
    return choose(workload, floor=False)


def weights_only(*workload: object) -> int:
    """The cache is missing: context x batch x bytes a token. It must fit, and each step reads it."""
    return choose(workload, bytes_of=lambda lane: lane[0])


def one_request(*workload: object) -> int:
    """Each request of the batch has its own cache: multiply by `batch`."""
    return choose(workload, bytes_of=lambda lane: lane[0] + lane[1] * workload[4])


def bytes_only(*workload: object) -> int:
    """A step takes the longer of two times: bytes / bandwidth and 2 x parameters x batch / products a second.
    In a large batch the second decides.
    """
    context, batch = workload[4], workload[5]
    return choose(workload, seconds=lambda lane: lane[0] + lane[1] * context * batch)


def best_quality(*workload: object) -> int:
    """The floor says what is good enough; among those lanes the fastest is asked for, not the best."""
    return choose(workload, seconds=lambda lane: -lane[2])


SLIPS = (
    slip("above the floor", "An agreement that equals the floor is good enough.",
         lambda *workload: choose((*workload[:6], workload[6] + 1e-9))),
    slip("less than the memory", "A lane that fills the memory to the last byte still fits.",
         lambda *workload: choose((*workload[:3], workload[3] - 1, *workload[4:]))),
    slip("place among the candidates",
         "That is the place among the lanes left: return the index in the list that came in.",
         lambda *workload: place(workload)),
    slip("times added",
         "A step takes the longer of its two times, not their sum: reading and computing overlap.",
         lambda *workload: choose(workload, seconds=lambda lane: sum(times(lane, workload)))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference,
    (any_quality, weights_only, one_request, bytes_only, best_quality, *SLIPS),
    praise="Memory excludes, the floor excludes, and the roofline ranks what is left: in this order.",
    tolerance=0
)  # fmt: skip
