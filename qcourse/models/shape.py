"""The shape of a model without its weights: what the memory arithmetic of planning needs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, read_config
from qcourse.common.tables import data_table
from qcourse.models import layers as read
from qcourse.models.families import FAMILIES, check_known, text_part
from qcourse.models.layers import Cache, Linear
from qcourse.models.resolve import resolve
from qcourse.models.small_tensors import small_tensors


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a decoder; `experts` is 1 for a dense model.

    linears: of the decoder layers; caches: what layers keep of a token; state_values: what layers
    with linear attention keep of a sequence; own_bits: {kind of linear: bits} as it is published.
    """

    name: str
    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    context: int
    experts: int
    linears: tuple[Linear, ...]
    caches: tuple[Cache, ...]
    state_values: int
    small: dict[str, int]
    own_method: str = ""
    own_bits: dict[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters by kind: embedding, attention, mlp, head (0 when tied), and small tensors."""
        table = self.vocabulary * self.hidden
        sizes = {"attention": 0, "mlp": 0}
        for one in self.linears:
            sizes["attention" if one.kind == "attention" else "mlp"] += one.rows * one.columns * one.count
        return {"embedding": table, **sizes, **self.small, "head": 0 if self.tied else table}

    @property
    def total_parameters(self) -> int:
        """Number of parameters stored, a tied head counted once."""
        return sum(self.parameters.values())

    @property
    def linear_parameters(self) -> int:
        """Number of parameters in the linears of the decoder layers: what is quantized."""
        return self.parameters["attention"] + self.parameters["mlp"]

    @property
    def active_parameters(self) -> int:
        """Number of parameters that one token multiplies with: its linears, router and head."""
        used = sum(one.rows * one.columns * one.active for one in self.linears)
        return used + self.vocabulary * self.hidden + self.small["router"]

    @property
    def kv_values_per_token(self) -> int:
        """Number of values that one token adds to the KV cache while it is inside every window."""
        return sum(cache.layers * cache.values for cache in self.caches)

    def kv_values(self, context: int) -> int:
        """Return the number of values that a sequence of `context` tokens keeps, windows capped."""
        return sum(c.layers * c.values * min(context, c.window or context) for c in self.caches)


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
    return from_config(read_config(resolve(source)), str(source))


@functools.cache
def known_models() -> dict[str, dict]:
    """Return the configurations in data/models.yaml by lower-case hub id, and by its last part."""
    rows = data_table("models.yaml")
    return {key: row for row in rows for key in (row["name"].lower(), row["name"].lower().split("/")[-1])}


def from_config(config: dict, name: str) -> ModelShape:
    """Return the ModelShape that a Hugging Face config.json describes.

    Raises QCourseError for a model type that is not known and for a size that is missing.
    """
    text = text_part(config)
    check_known(text, name)
    kind = text["model_type"]
    try:
        method, bits = own_quantization(config.get("quantization_config") or {})
        return ModelShape(
            name=str(name),
            model_type=kind,
            layers=text["num_hidden_layers"],
            hidden=text["hidden_size"],
            heads=text["num_attention_heads"],
            kv_heads=text.get("num_key_value_heads") or text["num_attention_heads"],
            head_dim=read.head_dim(text),
            intermediate=text["intermediate_size"],
            vocabulary=text["vocab_size"],
            tied=bool(text.get("tie_word_embeddings", FAMILIES[kind][3])),
            context=text.get("max_position_embeddings", 0),
            experts=read.experts(text),
            linears=read.linears(text),
            caches=read.caches(text),
            state_values=read.state_values(text),
            small=small_tensors(text, config),
            own_method=method,
            own_bits=bits,
        )
    except KeyError as error:
        raise QCourseError(f"the configuration of {name} ({kind}) has no {error.args[0]!r}; "
                           "download the whole config.json") from error  # fmt: skip


def own_quantization(config: Any) -> tuple[str, dict[str, float]]:
    """Return the method and {kind of linear: bits} of a model that is published quantized, or ("", {}).

    The bits of other methods than gpt-oss's MXFP4 and DeepSeek's FP8 blocks stay unknown: ("awq", {}).
    """
    table = config if isinstance(config, dict) else vars(config)
    method = str(getattr(table.get("quant_method"), "value", table.get("quant_method", "")))
    if method == "mxfp4":
        return method, {"expert": 4 + 8 / 32}
    if method == "fp8" and table.get("weight_block_size"):
        rows, columns = table["weight_block_size"]
        return "fp8-block", dict.fromkeys(("attention", "mlp", "expert"), 8 + 32 / (rows * columns))
    return method, {}
