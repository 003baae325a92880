"""The clock around a model in this process: prefill, and the decoding steps after it."""

import time
from typing import Any

import torch

from qcourse.common.latency import Latency


def time_model(model: Any, batch: int, prompt_tokens: int, new_tokens: int, repeats: int) -> Latency:
    """Return the median times of a transformers model in this process."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(2, model.config.vocab_size, (batch, prompt_tokens), generator=generator)
    runs = [one_run(model, prompt.to(model.device), new_tokens) for _ in range(repeats + 1)][1:]
    prefill, decode = (sorted(column)[len(runs) // 2] for column in zip(*runs, strict=True))
    return Latency.of(batch, prompt_tokens, new_tokens, prefill, decode / (new_tokens - 1))


@torch.inference_mode()
def one_run(model: Any, prompt: torch.Tensor, new_tokens: int) -> tuple[float, float]:
    """Return seconds of the prefill, and of the new_tokens - 1 decoding steps after it."""
    start = now(prompt)
    step = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    token = step.logits[:, -1:].argmax(-1)
    first = now(prompt)
    for _ in range(new_tokens - 1):
        step = model(input_ids=token, past_key_values=step.past_key_values, use_cache=True)
        token = step.logits[:, -1:].argmax(-1)
    return first - start, now(prompt) - first


def now(tensor: torch.Tensor) -> float:
    """Return the clock in seconds once the tensor's device has finished its queue."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()
