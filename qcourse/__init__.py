"""Companion package of the quantization course: formats, methods, exporters, servers and the yardstick."""

__version__ = "0.2.0"
