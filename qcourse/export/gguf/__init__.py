"""GGUF: a model written for llama.cpp, quantized by llama.cpp, and read back."""

from qcourse.export.gguf.quantize import TYPES, quantize, types_that_fit
from qcourse.export.gguf.write import write
from qcourse.gguf_reader.read import read, tensor_types

__all__ = ["TYPES", "quantize", "read", "tensor_types", "types_that_fit", "write"]
