"""Exercise 14.concurrent_requests: how many requests a device holds at once."""

from math import ceil, floor

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (memory, kept, weights, kv_token, context): bytes, a share, bytes, bytes a token, tokens."""
    return [
        (24 * 10**9, 0.1, 16 * 10**9, 131_072, 4096),
        (24 * 10**9, 0.1, 5_700_000_000, 131_072, 8192),
        (80 * 10**9, 0.1, 5_700_000_000, 65_536, 32_768),
        (16 * 10**9, 0.1, 15 * 10**9, 131_072, 2048),
        (8 * 10**9, 0.2, 800_000_000, 24_576, 1024),
    ]


def reference(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Count down from what an engine may use."""
    room, one, count = memory - memory * kept - weights, kv_token * context, 0
    while room >= one:
        room, count = room - one, count + 1
    return count


def held(memory: int, kept: float, weights: int, kv_token: int, context: int) -> float:
    """Return requests with what is left over, below 0 where the weights do not fit."""
    return (memory * (1 - kept) - weights) / (kv_token * context)


WRONG = (
    *slips("The engine keeps the share `kept` of the memory for activations and graphs: it is not yours.",
           nothing_kept=lambda memory, kept, *case: reference(memory, 0.0, *case)),
    *slips("`kept` is the engine's share of the whole memory: yours is 1 - kept of it, then the weights "
           "come off.",
           share_of_the_rest=lambda memory, kept, weights, kv, context: max(0, int(
               (memory - weights) * (1 - kept) // (kv * context))),
           share_of_the_weights=lambda memory, kept, weights, kv, context: max(0, int(
               (memory - weights * (1 + kept)) // (kv * context))),
           kept_for_requests=lambda memory, kept, *case: reference(memory, 1 - kept, *case)),
    *slips("The weights are there all the time: take them off before you divide.",
           no_weights=lambda memory, kept, weights, *case: reference(memory, kept, 0, *case)),
    *slips("The engine's share makes room smaller: memory * (1 - kept), less the weights.",
           share_added=lambda memory, kept, *case: reference(memory, -kept, *case),
           memory_alone=lambda memory, kept, weights, kv, context: memory // (kv * context)),
    *slips("You counted tokens; a request of `context` tokens takes that many at its end.",
           tokens=lambda memory, kept, weights, kv, context: reference(memory, kept, weights, kv, 1)),
    *slips("Where the weights alone do not fit, no request does: 0, not less.",
           below_zero=lambda *case: floor(held(*case)), cut_off_below_zero=lambda *case: int(held(*case)),
           magnitude=lambda *case: abs(floor(held(*case)))),
    *slips("Where the weights alone do not fit, no request does: the answer may be 0.",
           at_least_one=lambda *case: max(1, reference(*case))),
    *slips("A request that does not fit whole is not held: round down.",
           rounded_up=lambda *case: max(0, ceil(held(*case))),
           nearest=lambda *case: max(0, round(held(*case)))),
    *slips("All requests share one copy of the weights; only the cache is theirs.",
           weights_each=lambda memory, kept, weights, kv,
               context: int(memory * (1 - kept) // (weights + kv * context))),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Fewer bytes of weights leave room for more requests, and so do fewer bytes a token of cache.",
    tolerance=0
)  # fmt: skip
