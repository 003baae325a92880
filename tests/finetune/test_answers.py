"""Loss and accuracy look at the answer's tokens, and at nothing else."""

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import TokenizedExample, answer_accuracy, answer_loss, encode
from qcourse.finetune.answers import IGNORED, collate, loss_of
from qcourse.skills import units


def test_rows_split_at_the_answer(tokenizer):
    item = units.items("train", 1)[0]
    row = encode(tokenizer, [item])[0]
    assert item.question in tokenizer.decode(row.ids[: row.prompt_length])
    assert tokenizer.decode(row.ids[row.prompt_length :]) == item.answer + "<|end|>"


def test_without_a_chat_template(tokenizer):
    plain = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    row = encode(plain, units.items("train", 1))[0]
    assert plain.decode(row.ids).startswith("Q: Convert")
    assert row.ids[-1] == plain.eos_token_id


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer):
    broken = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    broken.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(QCourseError, match="rewrites the prompt"):
        encode(broken, units.items("train", 1))


def test_padding_changes_nothing(model, rows):
    short, long = min(rows, key=lambda r: len(r.ids)), max(rows, key=lambda r: len(r.ids))
    assert len(short.ids) < len(long.ids)
    ids, labels = collate([short, long])
    assert (labels[0, len(short.ids) :] == IGNORED).all()
    alone = [answer_loss(model, [row]) for row in (short, long)]
    counts = [len(row.ids) - row.prompt_length for row in (short, long)]
    weighted = sum(a * c for a, c in zip(alone, counts, strict=True)) / sum(counts)
    assert loss_of(model, ids, labels).item() == pytest.approx(weighted, rel=1e-5)


def test_accuracy_agrees_with_generation(model, rows):
    """Force one row right through the output bias of a copied model, then compare with generate()."""
    row = rows[0]
    prompt = torch.tensor([row.ids[: row.prompt_length]])
    generated = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=6, pad_token_id=0
    )[0].tolist()
    as_answer = row._replace(ids=generated)
    wrong = as_answer._replace(ids=[*generated[:-1], (generated[-1] + 1) % 400])
    assert answer_accuracy(model, [as_answer]) == 1.0
    assert answer_accuracy(model, [as_answer, wrong]) == 0.5


def test_lengths_are_few():
    """Each new length costs compiled code that is kept: they come in multiples of 16."""
    shapes = {collate([TokenizedExample(list(range(1, n + 1)), 0)])[0].shape[1] for n in range(1, 49)}
    assert shapes == {16, 32, 48}


def test_a_row_without_a_prompt_counts_from_its_second_token(model):
    row = TokenizedExample([5, 9, 7, 3], 0)
    ids, labels = collate([row, TokenizedExample([5, 9, 7, 3, 2, 8], 4)])
    with torch.no_grad():
        whole = model(input_ids=ids).logits.log_softmax(-1)
    wanted = [whole[0, i, row.ids[i + 1]] for i in range(3)] + [whole[1, 3, 2], whole[1, 4, 8]]
    assert loss_of(model, ids, labels).item() == pytest.approx(-torch.stack(wanted).mean().item(), rel=1e-4)
