"""Checkpoint writers and readers: GPTQ, AWQ, compressed-tensors, bitsandbytes, merged, GGUF."""

from qcourse.export import gguf
from qcourse.export.kv_scales import add_kv_scales, read_kv_scales
from qcourse.export.reader import misread_by_transformers, quantization_config, read, read_layers, split
from qcourse.export.save import check_format, save
from qcourse.recipe.record import read_record
from qcourse.recipe.vocabulary import FOLDER_FORMATS

__all__ = [
    "FOLDER_FORMATS",
    "add_kv_scales",
    "check_format",
    "gguf",
    "misread_by_transformers",
    "quantization_config",
    "read",
    "read_kv_scales",
    "read_layers",
    "read_record",
    "save",
    "split",
]
