"""Exercise 14.concurrent_requests: how many requests a device holds at once."""

from qcourse.course.check import Exercise, Misconception


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


def nothing_kept(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Wrong: gives the engine's own memory to the cache."""
    return max(0, int((memory - weights) // (kv_token * context)))


def no_weights(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Wrong: forgets the weights."""
    return int(memory * (1 - kept) // (kv_token * context))


def tokens(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Wrong: counts tokens."""
    return max(0, int((memory * (1 - kept) - weights) // kv_token))


def below_zero(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Wrong: a number below zero where the weights alone do not fit."""
    return int((memory * (1 - kept) - weights) // (kv_token * context))


def weights_each(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Wrong: a copy of the weights for each request."""
    return int(memory * (1 - kept) // (weights + kv_token * context))


EXERCISE = Exercise(
    cases=cases,
    reference=reference,
    misconceptions=(
        Misconception(
            "nothing kept",
            nothing_kept,
            "The engine keeps the share `kept` of the memory for activations and graphs: it is not yours.",
        ),
        Misconception(
            "no weights", no_weights, "The weights are there all the time: take them off before you divide."
        ),
        Misconception(
            "tokens", tokens, "You counted tokens; a request of `context` tokens takes that many at its end."
        ),
        Misconception(
            "below zero", below_zero, "Where the weights alone do not fit, no request does: 0, not less."
        ),
        Misconception(
            "weights each",
            weights_each,
            "All requests share one copy of the weights; only the cache is theirs.",
        ),
    ),
    praise="Fewer bytes of weights leave room for more requests, and so do fewer bytes a token of cache.",
    tolerance=0,
)
