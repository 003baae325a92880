"""The training form of pico: the decoder of transformers' Llama, without its output matrix."""

from dataclasses import asdict, dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Dimensions of the model; every inner dimension is a multiple of 256."""

    vocab_size: int = 4096
    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 64
    intermediate_size: int = 1536
    max_position_embeddings: int = 2048
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-5


class Pico(nn.Module):
    """Embedding, layers and final norm; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        from transformers import LlamaConfig, LlamaModel

        super().__init__()
        rope = {"rope_type": "default", "rope_theta": shape.rope_theta}
        decoder = LlamaModel(LlamaConfig(**asdict(shape), rope_parameters=rope, attn_implementation="sdpa"))
        for name, part in decoder.named_children():
            self.add_module(name, part)
        self.shape = shape
        self.decoder = [decoder]  # a list, so that its parts are registered once, as files name them

    def forward(self, ids: Tensor) -> Tensor:
        """Return final hidden states [batch, length, hidden] for ids [batch, length]."""
        return self.decoder[0](input_ids=ids, use_cache=False).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token, [..., vocabulary], for final hidden states."""
        return hidden @ self.embed_tokens.weight.T
