"""Which of several continuations a model finds most likely: for models that were never taught ours."""

from typing import Any

import torch
from torch import Tensor

from qcourse.skills.general import Choice


def chosen(source: Any, tokenizer: Any, asked: list[Choice]) -> list[int]:
    """Return, for each question, the index of the candidate with the largest mean log-probability a token.

    The mean, so that long candidates are not at a disadvantage (length normalization of Brown et al. 2020,
    arXiv 2005.14165, section 2.4).
    """
    found = []
    for choice in asked:
        prompt = prompt_of(tokenizer, choice)
        start = token_ids(tokenizer, prompt, not choice.chat)
        rows = [continuation(tokenizer, prompt, start, text, not choice.chat) for text in choice.candidates]
        found.append(int(torch.tensor(mean_log_probabilities(source, start, rows)).argmax()))
    return found


def prompt_of(tokenizer: Any, choice: Choice) -> str:
    """Return what a candidate continues: a user's turn in the chat template, or the prompt itself."""
    if not choice.chat:
        return choice.prompt
    turn = [{"role": "user", "content": choice.prompt}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)


def token_ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    """Return a text's ids; special: with what the tokenizer adds by itself, such as BOS."""
    return tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]


def continuation(tokenizer: Any, prompt: str, start: list[int], text: str, special: bool) -> list[int]:
    """Return the ids that a candidate adds to the prompt, tokenized together with it where that agrees."""
    whole = token_ids(tokenizer, prompt + text, special)
    if whole[: len(start)] == start and len(whole) > len(start):
        return whole[len(start) :]
    return token_ids(tokenizer, text, False)


def mean_log_probabilities(source: Any, start: list[int], rows: list[list[int]]) -> list[float]:
    """Return the mean log-probability a token of each row [tokens] after the ids of the prompt."""
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])  # causal: padding is never seen
    found = next_logits(source, start, padded).log_softmax(-1)
    picked = found.gather(2, padded[..., None]).squeeze(2)
    return [float(values[: len(row)].mean()) for values, row in zip(picked, rows, strict=True)]


@torch.inference_mode()
def next_logits(source: Any, start: list[int], rows: Tensor) -> Tensor:
    """Return float32 [rows, T, V], the logits that predict each token of `rows` [rows, T] after the prompt.

    A transformers model reads the prompt once and continues it from its cache; other sources read it with
    every row.
    """
    prompt = torch.tensor([start])
    model = getattr(source, "model", None)
    if not isinstance(model, torch.nn.Module):
        whole = torch.cat([prompt.expand(len(rows), -1), rows], 1)
        return source.logits(whole)[:, len(start) - 1 : -1].float()
    prompt, rows = (tokens.to(source.model.device) for tokens in (prompt, rows))
    read = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    cache = read.past_key_values
    cache.batch_repeat_interleave(len(rows))
    after = model(input_ids=rows[:, :-1], past_key_values=cache).logits if rows.shape[1] > 1 else None
    first = read.logits[:, -1:].expand(len(rows), -1, -1)
    return (first if after is None else torch.cat([first, after], 1)).float().cpu()
