"""Fast greedy answers from a transformers model: sorted by length, left-padded, with a KV cache."""

from collections.abc import Callable, Sequence
from typing import Any

from qcourse.skills.item import Item

BATCH_TOKENS = 16_384  # prompt tokens a batch, padding included


def generate(
    model: Any, tokenizer: Any, items: Sequence[Any], progress: Callable[[int], None] | None = None
) -> list[str]:
    """Return one greedy answer an item, in order, without the end-of-turn token.

    model: a causal language model of transformers, on any device. items: with the messages, prompt and
    max_new_tokens of an Item. A tokenizer without a chat template gets the bare prompt. `progress` is called
    with the number of items just answered.
    """
    prompts = [encode(tokenizer, item) for item in items]
    order = sorted(range(len(items)), key=lambda i: (items[i].max_new_tokens, len(prompts[i])))
    answers = [""] * len(items)
    for batch in batches(order, prompts, items):
        limit = max(items[i].max_new_tokens for i in batch)
        for i, text in zip(batch, greedy(model, tokenizer, [prompts[i] for i in batch], limit), strict=True):
            answers[i] = text
        if progress:
            progress(len(batch))
    return answers


def encode(tokenizer: Any, item: Item) -> list[int]:
    """Return the prompt's ids, in the chat template where there is one."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(item.messages, tokenize=False, add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer(f"{item.prompt}\n")["input_ids"]


def batches(order: list[int], prompts: list[list[int]], items: Sequence[Any]) -> list[list[int]]:
    """Cut `order` into batches of at most BATCH_TOKENS prompt tokens and one answer limit."""
    found: list[list[int]] = []
    for i in order:
        last = found[-1] if found else []
        alike = last and items[last[0]].max_new_tokens == items[i].max_new_tokens
        if alike and (len(last) + 1) * len(prompts[i]) <= BATCH_TOKENS and len(last) < 64:
            last.append(i)
        else:
            found.append([i])
    return found


def greedy(model: Any, tokenizer: Any, prompts: list[list[int]], limit: int) -> list[str]:
    """Return the greedy continuations of prompts, up to `limit` tokens or the end of turn."""
    import torch

    ids, mask = left_pad(prompts, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
    ids, mask = ids.to(model.device), mask.to(model.device)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=limit, do_sample=False, num_beams=1,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id
        )  # fmt: skip
    return [tokenizer.decode(row, skip_special_tokens=True) for row in made[:, ids.shape[1] :]]


def left_pad(prompts: list[list[int]], filler: int) -> tuple[Any, Any]:
    """Return ids and attention mask, each int64 [prompts, longest], padded on the left."""
    import torch

    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), filler)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask
