"""The shape of a model without its weights: what the memory arithmetic of planning needs."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, data_folder
from qcourse.models.resolve import resolve


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a Llama- or Qwen-like decoder; `experts` is 1 for a dense model."""

    name: str
    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    context: int
    qkv_bias: bool = False
    qk_norm: bool = False
    experts: int = 1
    experts_per_token: int = 1

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters by kind: embedding, attention, mlp, bias, norm, head (0 when tied)."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        mlp = 3 * self.hidden * self.intermediate * self.experts
        router = self.hidden * self.experts if self.experts > 1 else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        table = self.vocabulary * self.hidden
        return {
            "embedding": table,
            "attention": self.layers * 2 * self.hidden * (query + key),
            "mlp": self.layers * (mlp + router),
            "bias": self.layers * (query + 2 * key) if self.qkv_bias else 0,
            "norm": self.layers * norms + self.hidden,
            "head": 0 if self.tied else table,
        }

    @property
    def total_parameters(self) -> int:
        """Number of parameters stored, a tied head counted once."""
        return sum(self.parameters.values())

    @property
    def linear_parameters(self) -> int:
        """Number of parameters in the linears of the decoder layers: what is quantized."""
        return self.parameters["attention"] + self.parameters["mlp"]

    @property
    def kv_values_per_token(self) -> int:
        """Number of values that one token adds to the KV cache: keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def shape(source: str | Path | dict | Any) -> ModelShape:
    """Return the ModelShape of a name (known, pico, folder, hub id), a config object or a config dict.

    Names in data/models.yaml need neither weights nor network.
    Raises QCourseError for what cannot be resolved and for a config without the needed sizes.
    """
    if isinstance(source, dict):
        return from_config(source, source.get("_name_or_path") or "config")
    if not isinstance(source, str | Path):
        config = getattr(source, "config", source)
        return from_config(config.to_dict(), getattr(config, "name_or_path", "") or "model")
    if found := known_models().get(str(source).lower()):
        return from_config(found, found["name"])
    path = resolve(source) / "config.json"
    try:
        return from_config(json.loads(path.read_text()), str(source))
    except (OSError, json.JSONDecodeError) as error:
        raise QCourseError(f"{path} cannot be read as a model configuration; download it again") from error


@functools.cache
def known_models() -> dict[str, dict]:
    """Return the configurations in data/models.yaml by lower-case hub id, and by its last part."""
    import yaml

    rows = yaml.safe_load((data_folder() / "models.yaml").read_text())
    return {key: row for row in rows for key in (row["name"].lower(), row["name"].lower().split("/")[-1])}


def from_config(config: dict, name: str) -> ModelShape:
    """Return the ModelShape that a Hugging Face config.json describes; QCourseError if a size is missing."""
    try:
        heads, hidden, kind = config["num_attention_heads"], config["hidden_size"], config["model_type"]
        experts = config.get("num_local_experts") or config.get("num_experts") or 1
        return ModelShape(
            name=str(name),
            model_type=kind,
            layers=config["num_hidden_layers"],
            hidden=hidden,
            intermediate=config.get("moe_intermediate_size") or config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", kind != "mixtral" and kind != "llama")),
            context=config.get("max_position_embeddings", 0),
            qkv_bias=kind in ("qwen2", "qwen2_moe") or bool(config.get("attention_bias")),
            qk_norm=kind in ("qwen3", "qwen3_moe"),
            experts=experts,
            experts_per_token=config.get("num_experts_per_tok") or 1,
        )
    except KeyError as error:
        raise QCourseError(
            f"the configuration of {name} has no {error.args[0]!r}; only Llama- and Qwen-like "
            "decoders can be planned"
        ) from error
