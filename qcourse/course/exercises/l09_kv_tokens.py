"""Exercise 09.kv_tokens: how many tokens a KV cache of a given size holds."""

from qcourse.course.check import Exercise


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


def one_tensor(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """Each layer stores a key and a value for each token: a factor of 2."""
    return cache // (layers * kv_heads * head_dim * width)


def query_heads(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """With grouped attention several query heads share one key and value head: count kv_heads."""
    return cache // (2 * layers * heads * head_dim * width)


def one_layer(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """Every layer keeps its own keys and values: multiply by the layers."""
    return cache // (2 * kv_heads * head_dim * width)


def bits(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> int:
    """`width` is in bytes already: 2 for bf16, 1 for FP8."""
    return 8 * cache // (2 * layers * kv_heads * head_dim * width)


def fraction(cache: int, layers: int, heads: int, kv_heads: int, head_dim: int, width: int) -> float:
    """A cache holds whole tokens: use //, not /."""
    return cache / (2 * layers * kv_heads * head_dim * width)


EXERCISE = Exercise(
    cases, reference, (one_tensor, query_heads, one_layer, bits, fraction),
    praise="Halve the width and the same memory holds twice the tokens, and each step reads half the bytes "
    "of cache.", tolerance=0
)  # fmt: skip
