"""Exercise 14.concurrent_requests: how many requests a device holds at once."""

from qcourse.course.check import Exercise


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
    """The engine keeps the share `kept` of the memory for activations and graphs: it is not yours."""
    return max(0, int((memory - weights) // (kv_token * context)))


def no_weights(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """The weights are there all the time: take them off before you divide."""
    return int(memory * (1 - kept) // (kv_token * context))


def tokens(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """You counted tokens; a request of `context` tokens takes that many at its end."""
    return max(0, int((memory * (1 - kept) - weights) // kv_token))


def below_zero(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """Where the weights alone do not fit, no request does: 0, not less."""
    return int((memory * (1 - kept) - weights) // (kv_token * context))


def weights_each(memory: int, kept: float, weights: int, kv_token: int, context: int) -> int:
    """All requests share one copy of the weights; only the cache is theirs."""
    return int(memory * (1 - kept) // (weights + kv_token * context))


EXERCISE = Exercise(
    cases, reference, (nothing_kept, no_weights, tokens, below_zero, weights_each),
    praise="Fewer bytes of weights leave room for more requests, and so do fewer bytes a token of cache.",
    tolerance=0
)  # fmt: skip
