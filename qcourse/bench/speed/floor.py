"""The floor of GPTQ and AWQ: the arithmetic that neither can avoid, at the rates this machine reaches now."""

import time
from typing import Any

from qcourse.recipe import named

SIZE = 1024
SEARCH_ROWS, CANDIDATES = 512, 23  # of AWQ's search: rows of each linear, scales tried


def rates() -> dict[str, float]:
    """Return operations a second of matrix products in bf16, in fp32, and of bf16 values into fp32."""
    import torch

    from qcourse.calibrate import bf16_products

    wide = torch.randn(SIZE, SIZE)
    narrow = wide.to(torch.bfloat16)
    found = {"bf16": rate(lambda: narrow @ narrow), "fp32": rate(lambda: wide @ wide)}
    with bf16_products():
        found["bf16 into fp32"] = rate(lambda: wide @ wide)
    return found


def rate(product: Any) -> float:
    """Return operations a second of a product of two SIZE x SIZE matrices: the best of ten."""
    product()
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best


def work(config: Any, recipe: str, tokens: int, length: int) -> dict[str, tuple[float, str]]:
    """Return operations and kind of rate for each part of quantizing a Llama shape by `recipe`.

    Each decoder layer's linears run once on all tokens, attention over half of the positions; each input's
    Hessian is symmetric, so half of it; GPTQ factorizes it and updates every column once by all before it;
    AWQ weighs each candidate's error by it, and half of a symmetric matrix tells that.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    query, key = config.num_attention_heads * head, config.num_key_value_heads * head
    inputs = [(hidden, (query, key, key)), (query, (hidden,)), (hidden, (inner, inner)), (inner, (hidden,))]
    linear = sum(width * sum(outs) for width, outs in inputs)
    parts = {
        "forward": (2 * tokens * linear + 2 * tokens * length * query, "bf16"),
        "Hessians": (sum(tokens * width**2 for width, _ in inputs), "bf16 into fp32"),
    }
    if named(recipe).method == "gptq":
        parts["factorization"] = (sum(width**3 / 3 for width, _ in inputs), "fp32")
        parts["updates"] = (sum(width**2 * sum(outs) for width, outs in inputs), "fp32")
    else:
        rows = [(width, sum(min(out, SEARCH_ROWS) for out in outs)) for width, outs in inputs]
        parts["search"] = (sum(CANDIDATES * count * width**2 for width, count in rows), "bf16 into fp32")
    return {name: (layers * operations, kind) for name, (operations, kind) in parts.items()}


def seconds(
    config: Any, recipe: str, tokens: int, length: int, measured: dict[str, float]
) -> dict[str, float]:
    """Return the least seconds of each part at the measured rates, and their sum as "floor"."""
    parts = {name: operations / measured[kind]
             for name, (operations, kind) in work(config, recipe, tokens, length).items()}  # fmt: skip
    return parts | {"floor": sum(parts.values())}
