"""Checkpoint writers and readers: GPTQ, AWQ, compressed-tensors, bitsandbytes, merged, GGUF."""

from qcourse.export import gguf
from qcourse.export.manifest import read_record, write_record
from qcourse.export.reader import quantization_config, read, read_layers
from qcourse.export.save import FORMATS, check_format, save

__all__ = ["FORMATS", "check_format", "gguf", "quantization_config", "read", "read_layers", "read_record",
           "save", "write_record"]
