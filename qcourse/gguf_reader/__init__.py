"""GGUF files read: weights under transformers' names. Below models and export, which both need it."""

from qcourse.gguf_reader.read import read, tensor_types

__all__ = ["read", "tensor_types"]
