"""Checkpoint writers and readers: GPTQ, AWQ, compressed-tensors, bitsandbytes, merged, GGUF."""

from qcourse.export import gguf
from qcourse.export.kv_scales import add_kv_scales, read_kv_scales
from qcourse.export.manifest import write_record
from qcourse.export.reader import quantization_config, read, read_layers
from qcourse.export.save import FORMATS, check_format, save
from qcourse.recipe import read_record

__all__ = [
    "FORMATS",
    "add_kv_scales",
    "check_format",
    "gguf",
    "quantization_config",
    "read",
    "read_kv_scales",
    "read_layers",
    "read_record",
    "save",
    "write_record",
]
