"""Which of several continuations a model finds most likely: for models that were never taught ours."""

import copy
from os.path import commonprefix
from typing import Any

import torch
from torch import Tensor

from qcourse.skills.general import Choice


def chosen(source: Any, tokenizer: Any, asked: list[Choice]) -> list[int]:
    """Return, for each question, the index of the candidate with the largest mean log-probability a token.

    The mean, so that long candidates are not at a disadvantage (length normalization of Brown et al. 2020,
    arXiv 2005.14165, section 2.4).
    """
    prompts = [prompt_of(tokenizer, choice) for choice in asked]
    starts = [token_ids(tokenizer, prompt, not choice.chat)
              for choice, prompt in zip(asked, prompts, strict=True)]  # fmt: skip
    reader = reader_of(source, list(commonprefix(starts)))
    found = []
    for choice, prompt, start in zip(asked, prompts, starts, strict=True):
        rows = [continuation(tokenizer, prompt, start, text, not choice.chat) for text in choice.candidates]
        means = [sum(row) / len(row) for row in reader.log_probabilities(start, rows)]
        found.append(means.index(max(means)))
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


def reader_of(source: Any, shared: list[int]) -> Any:
    """Return what answers `log_probabilities(start, rows)`: a server itself, or a model's logits.

    shared: the ids with which every prompt begins, such as worked examples.
    """
    if hasattr(source, "log_probabilities"):
        return source
    model = getattr(source, "model", None)
    return Cached(model, shared) if isinstance(model, torch.nn.Module) else Whole(source)


class Whole:
    """Any source of logits: reads every candidate with the whole prompt."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the ids of the prompt."""
        padded = padded_rows(rows)
        whole = torch.cat([torch.tensor([start]).expand(len(rows), -1), padded], 1)
        return picked(self.source.logits(whole)[:, len(start) - 1 : -1], padded, rows)


class Cached:
    """A transformers model: reads what all prompts share once, and each prompt once for its candidates."""

    def __init__(self, model: Any, shared: list[int]) -> None:
        self.model, self.shared = model, shared
        self.cache: Any = self.read(shared).past_key_values if shared else None

    @torch.inference_mode()
    def read(self, ids: list[int], cache: Any = None) -> Any:
        """Return the model's output after the ids: the logits of the last [1, 1, V] and the KV cache."""
        tokens = torch.tensor([ids], device=self.model.device)
        return self.model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def log_probabilities(self, start: list[int], rows: list[list[int]]) -> list[list[float]]:
        """Return the log-probability of each token of `rows` after the ids of the prompt."""
        known = min(len(self.shared), len(start) - 1)  # at least one id is read, for its logits
        cache = copy.deepcopy(self.cache)
        if known < len(self.shared):
            cache.crop(known)
        found = self.read(start[known:], cache)
        padded = padded_rows(rows)
        logits = found.logits[:, -1:].expand(len(rows), -1, -1)
        if padded.shape[1] > 1:
            found.past_key_values.batch_repeat_interleave(len(rows))
            tokens = padded[:, :-1].to(self.model.device)
            after = self.model(input_ids=tokens, past_key_values=found.past_key_values).logits
            logits = torch.cat([logits, after], 1)
        return picked(logits, padded, rows)


def padded_rows(rows: list[list[int]]) -> Tensor:
    """Return int64 [rows, longest]; a causal model never sees the zeros behind a row."""
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def picked(logits: Tensor, padded: Tensor, rows: list[list[int]]) -> list[list[float]]:
    """Return the log-probabilities that logits [rows, T, V] give to each row's own tokens."""
    found = logits.float().cpu().log_softmax(-1).gather(2, padded[..., None]).squeeze(2)
    return [values[: len(row)].tolist() for values, row in zip(found, rows, strict=True)]
