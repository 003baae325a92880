"""Exercise 11.kv_bytes: bytes of one sequence's KV cache, some layers of which look back a window only."""

from qcourse.course.check import Exercise

Windows = list[int | None]


def cases() -> list[tuple]:
    """Return (tokens, window of each layer or None, KV heads, head_dim, bytes a value)."""
    return [
        (10, [None], 1, 4, 2),
        (10, [None, 4], 2, 4, 2),
        (3, [None, 4, 4], 2, 4, 1),
        (100_000, [4096] * 32, 8, 128, 2),
        (131_072, [1024, 1024, 1024, 1024, 1024, None] * 8, 8, 256, 2),
    ]


def reference(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """Count the values of each layer that are still looked at, key by key and value by value."""
    total = 0
    for window in windows:
        seen = tokens if window is None or window > tokens else window
        total += seen * (kv_heads * head_dim + kv_heads * head_dim) * width
    return total


def kept(windows: Windows, tokens: int) -> int:
    """Return the tokens kept, summed over layers."""
    return sum(tokens if window is None else min(window, tokens) for window in windows)


def no_window(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """A layer with a window drops what lies further back: it keeps min(tokens, window) of them."""
    return len(windows) * tokens * 2 * kv_heads * head_dim * width


def full_window(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """While there are fewer tokens than the window, only those are kept: min(tokens, window)."""
    return sum(window or tokens for window in windows) * 2 * kv_heads * head_dim * width


def windows_only(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """None means no window: that layer keeps every token."""
    return sum(min(window or 0, tokens) for window in windows) * 2 * kv_heads * head_dim * width


def keys_only(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """Each layer keeps a key and a value for each token: a factor of 2."""
    return kept(windows, tokens) * kv_heads * head_dim * width


def shortest(tokens: int, windows: Windows, kv_heads: int, head_dim: int, width: int) -> int:
    """Windows are the layers' own: add the layers up one by one, each with its own window."""
    least = min([tokens, *(window for window in windows if window)])
    return len(windows) * least * 2 * kv_heads * head_dim * width


EXERCISE = Exercise(
    cases, reference, (no_window, full_window, windows_only, keys_only, shortest),
    praise="With five windows to one full layer, a long context costs hardly more than the full layers.",
    tolerance=0
)  # fmt: skip
