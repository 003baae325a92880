"""A transformers model in this process as a source of logits, answers and times; anything as a source."""

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from qcourse.common import QCourseError
from qcourse.common.latency import Latency
from qcourse.common.layouts import LAYOUTS
from qcourse.measure.sources import split_logits
from qcourse.measure.timing import time_model
from qcourse.models import logits_of
from qcourse.models.attention import blockwise_attention, settle_attention
from qcourse.models.products import widen


class HFSource:
    """A transformers causal language model in memory, in any dtype and on any device."""

    engine, threads, process_ids = "transformers", None, ()

    def __init__(self, model: Any, tokenizer: Any = None, model_hash: str = "") -> None:
        self.model: Any = widen(model.eval())
        settle_attention(model.config)
        self.tokenizer = tokenizer
        self._model_hash = model_hash
        self.versions: dict[str, str] = {}
        self.vocabulary: int = model.config.vocab_size
        self.dtype = str(model.dtype).removeprefix("torch.")

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        """Return float32 [B, T, V] on the CPU."""
        with blockwise_attention(self.model.config):
            return self.model(input_ids=tokens.to(self.model.device), use_cache=False).logits.float().cpu()

    @torch.inference_mode()
    def chunks(self, tokens: Tensor, rows: int) -> Iterator[Tensor]:
        """Yield float32 [<= rows, V] of all positions but each window's last; all logits are never held."""
        hidden = self.hidden(tokens.to(self.model.device))
        if hidden is None:
            yield from split_logits(self.logits(tokens), rows)
            return
        for part in hidden[:, :-1].flatten(0, 1).split(rows):
            yield logits_of(self.model, part)

    def hidden(self, tokens: Tensor) -> Tensor | None:
        """Return the decoder's output [B, T, hidden], or None if logits are not just lm_head of it."""
        plain = getattr(self.model.config, "model_type", "") in LAYOUTS
        decoder: Any = getattr(self.model, "model", None)
        if getattr(self.model, "hf_quantizer", None) is not None:
            return None  # some libraries unpack the weights in the whole model's first forward only
        if not plain or not hasattr(decoder, "layers") or not hasattr(self.model, "lm_head"):
            return None
        with blockwise_attention(self.model.config):
            return decoder(input_ids=tokens, use_cache=False).last_hidden_state

    def generate(self, messages: list[list[dict]], max_new_tokens: list[int]) -> list[str]:
        """Return greedy answers to chat messages, in order."""
        from qcourse.skills import generate

        if self.tokenizer is None:
            raise QCourseError("this model was given without its tokenizer; pass HFSource(model, tokenizer)")
        items = [
            SimpleNamespace(messages=chat, prompt=chat[-1]["content"], max_new_tokens=limit)
            for chat, limit in zip(messages, max_new_tokens, strict=True)
        ]
        return generate(self.model, self.tokenizer, items)

    def latency(self, batch: int, prompt_tokens: int, new_tokens: int, repeats: int = 3) -> Latency:
        """Return the median times of greedy decoding of random prompts with a KV cache."""
        return time_model(self.model, batch, prompt_tokens, new_tokens, repeats)

    @property
    def model_hash(self) -> str:
        """What names the model whatever its dtype: the hash of the folder it came from, else `hash`."""
        return self._model_hash or self.hash

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 over all parameters and buffers as they are in memory."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if isinstance(tensor, Tensor):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]


def as_source(model: Any, tokenizer: Any = None) -> Any:
    """Return a logit source: the object itself if it has `.logits`, else the HFSource of a module,
    of a loaded model (.model, .tokenizer, .hash) or of a quantized one (.model); else QCourseError."""
    if callable(getattr(model, "logits", None)):
        return model
    if isinstance(model, torch.nn.Module):
        return HFSource(model, tokenizer)
    if isinstance(getattr(model, "model", None), torch.nn.Module):
        tokenizer = tokenizer or getattr(model, "tokenizer", None)
        return HFSource(model.model, tokenizer, getattr(model, "hash", "")[:16])
    raise QCourseError(
        f"{type(model).__name__} is no logit source: give a transformers model or an object with .logits"
    )
