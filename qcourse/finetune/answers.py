"""Questions and answers as token rows whose loss counts the answer only, and how well a model gives them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError

IGNORED = -100  # the label that torch's cross entropy leaves out
MULTIPLE = 16  # oneDNN compiles code for each new shape and keeps it: few lengths, little memory


class QuestionAnswer(Protocol):
    """Anything with a question and its answer as text."""

    question: str
    answer: str


class TokenizedExample(NamedTuple):
    """Token ids of prompt and answer, and how many of them are the prompt."""

    ids: list[int]
    prompt_length: int


def encode(tokenizer, items: Sequence[QuestionAnswer]) -> list[TokenizedExample]:
    """Return one example an item: the tokenizer's chat template, or 'Q: ... A: ...' where it has none.

    The answer ends with the end-of-sequence token, or with what the template puts
    after it where that holds none, so that the model also learns to stop.
    """
    rows = []
    for item in items:
        prompt, whole = _texts(tokenizer, item)
        if not whole.startswith(prompt):
            raise QCourseError(
                "the chat template rewrites the prompt once an answer follows: the answer's "
                "tokens cannot be told apart; give the tokenizer a template that appends"
            )
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        tail = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        if tokenizer.eos_token_id in tail:  # what a template writes after it is never generated
            tail = tail[: tail.index(tokenizer.eos_token_id) + 1]
        rows.append(TokenizedExample(head + tail, len(head)))
    return rows


def _texts(tokenizer, item: QuestionAnswer) -> tuple[str, str]:
    """Return the prompt as text, and prompt plus answer as text."""
    if not getattr(tokenizer, "chat_template", None):
        prompt = f"Q: {item.question}\nA:"
        return prompt, f"{prompt} {item.answer}{tokenizer.eos_token or ''}"
    turns = [{"role": "user", "content": item.question}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    turns.append({"role": "assistant", "content": item.answer})
    return prompt, tokenizer.apply_chat_template(turns, tokenize=False)


def collate(rows: Sequence[TokenizedExample]) -> tuple[Tensor, Tensor]:
    """Return ids and labels, both int64 [rows, T], padded right; labels ignore prompts and padding.

    T: the longest row, rounded up to a multiple of 16.
    """
    longest = -(-max(len(row.ids) for row in rows) // MULTIPLE) * MULTIPLE
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for index, (tokens, prompt_length) in enumerate(rows):
        ids[index, : len(tokens)] = torch.tensor(tokens)
        labels[index, prompt_length : len(tokens)] = ids[index, prompt_length : len(tokens)]
    return ids, labels


def answer_logits(model: nn.Module, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [B, T, V] from the first answer token on, and the labels they are judged by, [B, T].

    Over the prompts, most of a row, logits would be computed and thrown away.
    """
    device = next(model.parameters()).device
    # Padding is on the right of causal rows: no answer token can see it, so no mask is needed.
    kept = labels.shape[1] - max(1, int((labels != IGNORED).any(0).int().argmax()))
    logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]
    return logits, labels[:, -kept:].to(device)


def loss_of(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood in nats per answer token (differentiable scalar, fp32)."""
    logits, targets = answer_logits(model, ids, labels)
    counted = targets != IGNORED
    return nn.functional.cross_entropy(logits[counted].float(), targets[counted])


@torch.no_grad()
def answer_loss(model: nn.Module, rows: Sequence[TokenizedExample], batch_size: int = 16) -> float:
    """Return the mean negative log-likelihood in nats per answer token over all rows."""
    total, count = 0.0, 0
    for start in range(0, len(rows), batch_size):
        ids, labels = collate(rows[start : start + batch_size])
        tokens = int((labels[:, 1:] != IGNORED).sum())
        total, count = total + float(loss_of(model, ids, labels)) * tokens, count + tokens
    return total / count


@torch.no_grad()
def answer_accuracy(model: nn.Module, rows: Sequence[TokenizedExample], batch_size: int = 16) -> float:
    """Return the share of rows whose answer greedy decoding gives exactly, end token included.

    Greedy decoding reproduces an answer if and only if each of its tokens is the
    most likely one after the true prefix: one forward pass decides, no generation.
    """
    right = 0
    for start in range(0, len(rows), batch_size):
        logits, targets = answer_logits(model, *collate(rows[start : start + batch_size]))
        right += int(((logits.argmax(-1) == targets) | (targets == IGNORED)).all(1).sum())
    return right / len(rows)
