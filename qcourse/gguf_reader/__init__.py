"""GGUF files read: weights, configuration and tokenizer. Below models and export, which both need it."""

from qcourse.gguf_reader.folder import convert
from qcourse.gguf_reader.read import read, tensor_types
from qcourse.gguf_reader.tokenizer import read_tokenizer

__all__ = ["convert", "read", "read_tokenizer", "tensor_types"]
