"""Exercise 11.kv_bytes: bytes of one sequence's KV cache, some layers of which look back a window only."""

from collections.abc import Callable

from qcourse.course.check import Exercise, slips

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


def of_seen(
    seen: Callable, factor: Callable = lambda kv_heads, head_dim, width: 2 * kv_heads * head_dim * width
):
    """Return the bytes if a layer keeps seen(tokens, window) tokens of `factor` bytes."""
    return lambda tokens, windows, *sizes: sum(seen(tokens, window) for window in windows) * factor(*sizes)


def least(tokens: int, window: int | None) -> int:
    """Return the tokens that a layer keeps."""
    return min(tokens, window or tokens)


WRONG = (
    *slips("A layer with a window drops what lies further back: it keeps min(tokens, window) of them.",
           no_window=of_seen(lambda tokens, window: tokens),
           longer=of_seen(lambda tokens, window: max(tokens, window or tokens)),
           dropped=of_seen(lambda tokens, window: tokens - least(tokens, window) if window else tokens)),
    *slips("While there are fewer tokens than the window, only those are kept: min(tokens, window).",
           full_window=of_seen(lambda tokens, window: window or tokens)),
    *slips("None means no window: that layer keeps every token.",
           windows_only=of_seen(lambda tokens, window: min(window or 0, tokens))),
    *slips("A window of w tokens keeps w tokens, neither one more nor one less.",
           window_less_one=of_seen(lambda tokens, window: min(tokens, window - 1 if window else tokens)),
           window_and_one=of_seen(lambda tokens, window: min(tokens, window + 1 if window else tokens))),
    *slips("Each layer keeps a key and a value for each token: a factor of 2.",
           keys_only=of_seen(least, lambda heads, size, width: heads * size * width)),
    *slips("A number takes `width` bytes.",
           no_width=of_seen(least, lambda heads, size, width: 2 * heads * size)),
    *slips("Each KV head keeps a vector of head_dim numbers: multiply by both.",
           no_heads=of_seen(least, lambda heads, size, width: 2 * size * width),
           no_size=of_seen(least, lambda heads, size, width: 2 * heads * width)),
    *slips("Windows are the layers' own: add the layers up one by one, each with its own window.",
           shortest=lambda tokens, windows, *sizes: reference(tokens, len(windows) * [min(
               [tokens, *filter(None, windows)])], *sizes),
           first_for_all=lambda tokens, windows, *sizes: reference(tokens, len(windows) * windows[:1],
               *sizes),
           one_layer=lambda tokens, windows, *sizes: reference(tokens, windows[:1], *sizes)),
    *slips("Those are tokens: each takes a key and a value of every KV head.",
           tokens=lambda tokens, windows, *sizes: sum(least(tokens, window) for window in windows)),
    *slips("A layer with a window keeps something too: add the layers up.",
           full_layers_only=of_seen(lambda tokens, window: 0 if window else tokens)),
    *slips("The sequence's bytes are the sum over layers, not the mean.",
           mean=lambda tokens, windows, *sizes: reference(tokens, windows, *sizes) / len(windows)),
)  # fmt: skip

EXERCISE = Exercise(
    cases, reference, WRONG,
    praise="With five windows to one full layer, a long context costs hardly more than the full layers.",
    tolerance=0
)  # fmt: skip
