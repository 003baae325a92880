"""Exercise 09.kv_tokens: how many tokens a KV cache of a given size holds."""

from collections.abc import Callable

from qcourse.course.check import Exercise, slips


def cases() -> list[tuple]:
    """Return (cache bytes, layers, query heads, KV heads, head_dim, bytes a value)."""
    return [
        (10_000, 1, 2, 1, 4, 2),
        (2**30, 6, 8, 4, 64, 2),
        (2**30, 6, 8, 4, 64, 1),
        (16 * 2**30, 32, 32, 8, 128, 2),
        (16 * 2**30, 32, 32, 32, 128, 2),
    ]


def reference(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """Count the values of one token layer by layer, then divide."""
    values = sum(kv_heads * head_dim for _ in range(layers) for _ in ("key", "value"))
    return cache // (values * width)


def token_bytes(layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """Return the bytes of one token."""
    return 2 * layers * kv_heads * head_dim * width


Bytes = Callable[[int, int, int, int, int], float]


def of_token(size: Bytes) -> Callable:
    """Return the tokens if one takes size(layers, heads, kv_heads, head_dim, width) bytes."""
    return lambda cache, *sizes: cache // size(*sizes)


WRONG = (
    *slips("Each layer stores a key and a value for each token: a factor of 2.",
           one_tensor=of_token(lambda layers, heads, kv, dim, width: layers * kv * dim * width)),
    *slips("With grouped attention several query heads share one key and value head: count kv_heads.",
           query_heads=of_token(lambda layers, heads, kv, dim, width: 2 * layers * heads * dim * width),
           all_heads=of_token(lambda layers, heads, kv, dim, width: 2 * layers * (heads + kv) * dim * width),
           queries_kept=of_token(lambda layers, heads, kv, dim,
               width: layers * (heads + 2 * kv) * dim * width),
           heads_a_group=of_token(lambda layers, heads, kv, dim,
               width: 2 * layers * (heads // kv) * dim * width),
           product_of_heads=of_token(lambda layers, heads, kv, dim,
               width: 2 * layers * heads * kv * dim * width)),
    *slips("Every layer keeps its own keys and values: multiply by the layers.",
           one_layer=of_token(lambda layers, heads, kv, dim, width: 2 * kv * dim * width)),
    *slips("Each KV head keeps a vector of head_dim numbers: multiply by both.",
           no_heads=of_token(lambda layers, heads, kv, dim, width: 2 * layers * dim * width),
           no_head_dim=of_token(lambda layers, heads, kv, dim, width: 2 * layers * kv * width)),
    *slips("head_dim is the size of one head already: do not divide it by the heads.",
           split_dim=lambda cache, layers, heads, kv, dim,
               width: cache // (2 * layers * kv * (dim // heads) * width)
           if dim >= heads else 0),
    *slips("`width` is in bytes already: 2 for bf16, 1 for FP8.",
           bits=lambda cache, *sizes: reference(8 * cache, *sizes),
           bits_below=of_token(lambda layers, heads, kv, dim, width: 16 * layers * kv * dim * width)),
    *slips("A number takes `width` bytes: the wider, the fewer tokens.",
           no_width=of_token(lambda layers, heads, kv, dim, width: 2 * layers * kv * dim),
           multiplied=lambda cache, *sizes: cache * sizes[4] // (2 * sizes[0] * sizes[2] * sizes[3])),
    *slips("A cache holds whole tokens: use //, not /.",
           fraction=lambda cache, *sizes: cache / token_bytes(*sizes)),
    *slips("A token that does not fit whole is not held: round down.",
           rounded_up=lambda cache, *sizes: -(-cache // token_bytes(*sizes)),
           nearest=lambda cache, *sizes: round(cache / token_bytes(*sizes))),
    *slips("That is what one token takes: divide the cache by it.",
           token=lambda cache, *sizes: token_bytes(*sizes)),
    *slips("Put what divides in brackets: a // b * c multiplies by c.",
           no_brackets=lambda cache, layers, heads, kv, dim, width: cache // 2 * layers * kv * dim * width),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="Halve the width and the same memory holds twice the tokens, and each step reads half the bytes "
    "of cache.", tolerance=0
)  # fmt: skip
