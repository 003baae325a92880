"""The tokenizer of pico: byte-level BPE with single digits and a chat template."""

import json
from collections.abc import Iterable
from pathlib import Path

from qcourse.common import write_json
from qcourse.common.tables import data_table
from qcourse.skills import words

VOCABULARY = 4096
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
REPEATS = 5000  # how often a whole word is shown, so that the merges make it one token
ROLES = ("system", "user", "assistant")
SKILL_WORDS = data_table("skills.yaml")["tokenizer"].split()


def shown(documents: list[str]) -> Iterable[str]:
    """Yield the text that the merges are learned from: the documents, then the words of the skills.

    Nouns and capitals are shown without a space too: tool calls and lists quote them.
    """
    yield from documents
    names = words.PLACES + words.CAPITALS + words.RIVERS + words.METALS + words.ANIMALS + words.NOUNS
    for word in (*names, *SKILL_WORDS):
        yield f" {word}" * REPEATS
    for word in (*ROLES, *words.NOUNS, *words.CAPITALS):
        yield f"\n{word}" * REPEATS


def train_tokenizer(documents: list[str]):
    """Return a fast tokenizer of transformers, trained on the documents and on the skills' words.

    Digits are split one by one before the byte-level pattern, which is what
    llama.cpp calls "smollm", so every engine gives the same ids.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(shown(documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=PAD, eos_token=END, pad_token=PAD, chat_template=CHAT_TEMPLATE,
        model_max_length=2048, clean_up_tokenization_spaces=False
    )  # fmt: skip


def save_tokenizer(folder: Path, documents: list[str]) -> None:
    """Train the tokenizer and write tokenizer.json and tokenizer_config.json into `folder`.

    The class is written under the name that older transformers and vLLM also know.
    """
    train_tokenizer(documents).save_pretrained(folder, save_jinja_files=False)
    file = Path(folder) / "tokenizer_config.json"
    settings = {name: value for name, value in json.loads(file.read_text()).items() if name != "backend"}
    write_json(file, settings | {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False})
