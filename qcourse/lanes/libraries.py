"""The production libraries as the lessons call them: on a model in memory, with the lesson's own tokens."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from qcourse.common.quiet import muted
from qcourse.models import products


def llmcompressor_gptq(
    model: Any, tokenizer: Any, tokens: Tensor, bits: int = 4, group_size: int = 128
) -> Any:
    """Quantize a transformers model in place by llm-compressor's GPTQ; it then computes with rounded weights.

    tokens: int64 [sequences, length], all of them used. Symmetric groups; the head is kept.
    """
    with silent():
        from llmcompressor.modifiers.gptq import GPTQModifier

    modifier = GPTQModifier(config_groups={"all": scheme(bits, group_size, True)}, ignore=["lm_head"])
    return oneshot(model, tokenizer, tokens, [modifier])


def llmcompressor_awq(
    model: Any,
    tokenizer: Any,
    tokens: Tensor,
    bits: int = 4,
    group_size: int = 128,
    layers: tuple[int, ...] | None = None,
) -> Any:
    """Scale and round a transformers model in place by llm-compressor's AWQ; asymmetric groups, head kept.

    layers: indices of the decoder layers to scale and round, None for all.
    """
    with silent():
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from llmcompressor.modifiers.transform.awq import AWQModifier

    chosen = range(model.config.num_hidden_layers) if layers is None else layers
    skipped = [
        f"re:.*layers\\.{index}\\..*"
        for index in range(model.config.num_hidden_layers)
        if index not in chosen
    ]
    rounding = QuantizationModifier(
        config_groups={"all": scheme(bits, group_size, False)}, ignore=["lm_head", *skipped]
    )
    with unpinned():
        return oneshot(model, tokenizer, tokens, [AWQModifier(), rounding])


def auto_round(
    model: Any, tokenizer: Any, tokens: Tensor, bits: int = 4, group_size: int = 128, steps: int = 50
) -> Any:
    """Learn how to round a transformers model, in place and in float32, by the library AutoRound.

    steps: of each decoder layer, four sequences each; 50 are the library's light setting, 200 its usual one.
    Asymmetric groups; the head is kept.
    """
    with silent():
        from auto_round import AutoRound

        plain = products.narrow(model.float())  # AutoRound rounds what has the class nn.Linear
        AutoRound(plain, tokenizer, bits=bits, group_size=group_size, sym=False, iters=steps, batch_size=4,
                  dataset=list(tokens[:, None]), nsamples=len(tokens), seqlen=tokens.shape[1],
                  enable_torch_compile=False).quantize()  # fmt: skip
    return model


def scheme(bits: int, group_size: int, symmetric: bool) -> Any:
    """Return compressed-tensors' description of grouped integer weights for every linear."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    weights = QuantizationArgs(num_bits=bits, group_size=group_size, strategy="group", symmetric=symmetric)
    return QuantizationScheme(targets=["Linear"], weights=weights)


def oneshot(model: Any, tokenizer: Any, tokens: Tensor, modifiers: list) -> Any:
    """Run llm-compressor's one call on these tokens, without its log and its progress bars."""
    with silent():
        from datasets import Dataset
        from llmcompressor import oneshot as run

    rows = {"input_ids": tokens.tolist(), "attention_mask": [[1] * tokens.shape[1]] * len(tokens)}
    with silent(), products.wide_products():
        run(model=model, processor=tokenizer, dataset=Dataset.from_dict(rows), recipe=modifiers,
            max_seq_length=tokens.shape[1], num_calibration_samples=len(tokens))  # fmt: skip
    return products.narrow(model)  # what is saved compressed is what has the class nn.Linear


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the library's log lines and progress bars off the page; errors still raise."""
    from loguru import logger

    logger.disable("llmcompressor")
    logger.disable("compressed_tensors")
    try:
        logger.level("METRIC")
    except ValueError:  # llm-compressor makes its own level only where its log is wanted
        logger.level("METRIC", no=38)
    with muted():
        try:
            yield
        finally:
            logger.enable("llmcompressor")


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """Let AWQ's cache stay in plain memory where there is no accelerator to pin it for.

    llm-compressor 0.14 calls pin_memory() on any machine, which raises without one.
    """
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    original = IntermediatesCache.__dict__["_pin_intermediate"]
    if not torch.cuda.is_available():
        IntermediatesCache._pin_intermediate = classmethod(lambda cls, value: None)
    try:
        yield
    finally:
        IntermediatesCache._pin_intermediate = original
