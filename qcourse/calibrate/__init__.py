"""Calibration: text to token batches, and a model run layer by layer while statistics are collected."""

from qcourse.calibrate.batches import batches, read_texts, text_record, tokens_hash
from qcourse.calibrate.gram import accumulate_gram, mirror
from qcourse.calibrate.kv_ranges import KVRange, kv_ranges
from qcourse.calibrate.statistics import InputStatistics, InputSums
from qcourse.calibrate.step import CalibrationStep, LayerStep
from qcourse.calibrate.walk import importance_matrix, walk
from qcourse.models.products import bf16_products

__all__ = [
    "CalibrationStep", "InputStatistics", "InputSums", "KVRange", "LayerStep", "accumulate_gram", "batches",
    "bf16_products", "importance_matrix", "kv_ranges", "mirror", "read_texts", "text_record", "tokens_hash",
    "walk",
]  # fmt: skip
