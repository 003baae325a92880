"""Engines are the judges: does an engine compute, from our file, what our model in float32 computes?

The reference is the model in float32 with the dequantized weights, its activations quantized as
the engine does it. A file passes when KL(reference || engine) on at least 2,000 tokens is at most
1e-4 or 5% of KL(unquantized || reference), whichever is larger. The same rule must refuse the
controls: a zero point off by one, swapped nibbles, two groups' scales exchanged.

Rounding activations to int8 makes the arithmetic chaotic. A sum added in another order tips about one
code in 50,000 over, so a third of the tokens meet one, and what follows differs by about as much as
rounding itself does. Two answers: windows of two tokens, judged before such chance has spread (the
rule then holds as it stands); and where even those are too long (llama.cpp's Q8_0), the reference is
asked what it differs from itself once its sums are made in float64. Reference and engine each carry one
such error, independent of the other's, and KL grows with the variance of the difference: so the limit
is twice that figure.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from qcourse.measure import divergence
from qcourse.models.attention import settle_attention
from qcourse.quantize import simulate

FLOOR, SHARE, CHANCE = 1e-4, 0.05, 2.0
POSITIONS = 2000


@dataclass(frozen=True)
class Verdict:
    """KL(reference || engine) in nats a token, beside KL(unquantized || reference).

    itself: KL(reference || reference with its sums in float64), where that is what limits agreement.
    """

    engine: float
    quantized: float
    itself: float = 0.0

    @property
    def limit(self) -> float:
        """The largest divergence that is still the same model."""
        return max(FLOOR, SHARE * self.quantized, CHANCE * self.itself)

    @property
    def passed(self) -> bool:
        """Whether the engine computes what the reference computes."""
        return self.engine <= self.limit

    def __str__(self) -> str:
        word = "same" if self.passed else "DIFFERENT"
        kl = f"KL(reference || engine) {self.engine:.2e}, limit {self.limit:.2e}"
        return f"{word}: {kl}, KL(unquantized || reference) {self.quantized:.2e}, itself {self.itself:.2e}"


class Judge:
    """A model folder, its tokens [B, T], its logits before quantization, and the rule."""

    def __init__(self, folder: Path, tokens: Tensor) -> None:
        assert tokens.numel() >= POSITIONS, "the rule asks for 2,000 tokens"
        self.folder, self.tokens = folder, tokens
        self.unquantized = self.logits(load_in_transformers(folder))

    @torch.inference_mode()
    def logits(self, model: Any) -> Tensor:
        """Return float32 logits [B, T, V] of a transformers model, 512 tokens at a time."""
        parts = self.tokens.split(max(1, 512 // self.tokens.shape[1]))
        return torch.cat([model.eval()(input_ids=part, use_cache=False).logits.float() for part in parts])

    def verdict(self, reference: Tensor, engine: Tensor, again: Tensor | None = None) -> Verdict:
        """Compare the logits (or log-probabilities) of an engine with the reference's.

        again: the reference once more, with its sums in float64.
        """
        quantized = divergence(self.unquantized, reference).kl_mean
        itself = 0.0 if again is None else divergence(reference, again).kl_mean
        found = Verdict(divergence(reference, engine).kl_mean, quantized, itself)
        print(found)
        return found

    def again(self, model: Any) -> Tensor:
        """Return the logits of a model whose linears add in float64 and round the sum to float32."""
        with (
            mock.patch("torch.nn.functional.linear", wide_linear),
            mock.patch.object(simulate, "linear", wide_linear),
        ):
            return self.logits(model)


def wide_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return inputs [..., in] times weight [out, in], transposed: summed in float64, then rounded back."""
    product = inputs.double() @ weight.double().T
    return (product if bias is None else product + bias.double()).to(inputs.dtype)


@torch.inference_mode()
def load_in_transformers(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Return a checkpoint as transformers loads it, with whatever library its quantization_config names."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu")
    settle_attention(model.config)
    return model
