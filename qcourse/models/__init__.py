"""Models in: by name, folder or hub id; their linears, their layers, and their shapes without weights."""

from qcourse.models.checkpoint import check_checkpoint
from qcourse.models.load import LoadedModel, choose_device, load, load_tokenizer, loaded
from qcourse.models.mapped import filled, mapped_model
from qcourse.models.modules import (
    check_finite,
    decoder_layers,
    fused_groups,
    linears,
    logits_of,
    widths,
)
from qcourse.models.resolve import public_name, resolve
from qcourse.models.shape import ModelShape, known_models, shape
from qcourse.models.skeleton import skeleton

__all__ = [
    "LoadedModel",
    "ModelShape",
    "check_checkpoint",
    "check_finite",
    "choose_device",
    "decoder_layers",
    "filled",
    "fused_groups",
    "known_models",
    "linears",
    "load",
    "load_tokenizer",
    "loaded",
    "logits_of",
    "mapped_model",
    "public_name",
    "resolve",
    "shape",
    "skeleton",
    "widths",
]
