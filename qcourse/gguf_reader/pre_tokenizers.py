"""How text is split before byte-level BPE: llama.cpp's names for it, and the steps of `tokenizers`.

Source: llm_tokenizer_bpe and load_vocab in llama.cpp's src/llama-vocab.cpp.
"""

from typing import Any

from qcourse.common import QCourseError

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def by_case(end: str, digits: str) -> str:
    """Return the pattern that splits words where their case changes; end: what may follow a word."""
    first = r"[^\r\n\p{L}\p{N}]?"
    return f"{first}{UPPER}*{LOWER}+{end}|{first}{UPPER}+{LOWER}*{end}|{digits}{REST}"


PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"
DIGITS, GPT2_BYTES, BYTES = "Digits", "ByteLevel with GPT-2's pattern", "ByteLevel"

STEPS: dict[str, tuple[str, ...]] = {
    "gpt-2": (GPT2_BYTES,), "smollm": (DIGITS, GPT2_BYTES), "llama-bpe": (LLAMA3, BYTES),
    "qwen2": (QWEN2, BYTES), "falcon": (PUNCTUATION.replace("]+", "`]+"), GPT2, "[0-9][0-9][0-9]", BYTES),
    "gpt-4o": (by_case("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}"), BYTES),
    "tekken": (by_case("", r"\p{N}"), BYTES),
    "default": (PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]", BYTES)
}  # fmt: skip
"""tokenizer.ggml.pre -> the steps, one after the other: DIGITS, a pattern to split by, and the bytes."""

SAME = {
    "gpt-2": ("mpt", "olmo", "jais", "phi-2", "mellum"),
    "smollm": ("starcoder", "refact", "command-r", "codeshell"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
    "gpt-4o": ("llama4",),
    "qwen2": ("stablelm2", "deepseek-r1-qwen", "megrez"),
}
NAMES = {name: name for name in STEPS} | {other: name for name, others in SAME.items() for other in others}
WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "falcon3", "tekken")
"""Those whose tokens are looked up whole before merging, and that begin a text with bos unless told."""


def steps_of(pre: str) -> tuple[str, ...]:
    """Return the steps of a tokenizer.ggml.pre. Raises QCourseError for a name that is not known here."""
    if pre not in NAMES:
        raise QCourseError(f"the splitting of text {pre!r} is not known; known are {', '.join(NAMES)}")
    return STEPS[NAMES[pre]]


def pre_tokenizer(pre: str) -> Any:
    """Return the pre-tokenizer of `tokenizers` for a tokenizer.ggml.pre; QCourseError if unknown."""
    from tokenizers import Regex, pre_tokenizers

    made = {
        DIGITS: lambda: pre_tokenizers.Digits(individual_digits=True),
        GPT2_BYTES: lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
        BYTES: lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    }
    steps = [made[step]() if step in made else pre_tokenizers.Split(Regex(step), "isolated")
             for step in steps_of(pre)]  # fmt: skip
    return pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]


def name_of(state: dict[str, Any] | None) -> str:
    """Return llama.cpp's name of a tokenizer.json's pre_tokenizer. Raises QCourseError if it has none."""
    outer = state or {}
    found = tuple(map(step_of, outer.get("pretokenizers", [outer])))
    for name, steps in STEPS.items():
        if steps == found:
            return name
    raise QCourseError(
        f"llama.cpp has no name for this way to split text ({' + '.join(found)}); "
        f"known are {', '.join(STEPS)}"
    )


def step_of(state: dict[str, Any]) -> str:
    """Return one step of a tokenizer.json's pre_tokenizer as STEPS writes it."""
    kind = str(state.get("type"))
    if kind == "ByteLevel":
        return GPT2_BYTES if state.get("use_regex", True) else BYTES
    if kind == "Digits":
        return DIGITS if state["individual_digits"] else "Digits together"
    return state["pattern"].get("Regex", kind) if kind == "Split" else kind
