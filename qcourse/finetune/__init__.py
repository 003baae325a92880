"""Training after or under quantization: adapters on a quantized base, merging, training with rounding.

    rows = encode(tokenizer, units.items("train"))
    adapted = add_adapters(quantize_base(model), rank=16)
    fit(adapted, rows, steps=150)
    merge(fresh_model, deltas(adapted), base=base_weights)
"""

from qcourse.finetune import units
from qcourse.finetune.answers import Row, answer_accuracy, answer_loss, encode
from qcourse.finetune.loop import TrainingLog, fit
from qcourse.finetune.merge import deltas, dequantized_base, merge
from qcourse.finetune.qat import QuantizationAware, finish_qat, prepare_qat
from qcourse.finetune.qlora import QuantizedLinear, add_adapters, freeze, has_bitsandbytes, quantize_base

__all__ = [
    "QuantizationAware",
    "QuantizedLinear",
    "Row",
    "TrainingLog",
    "add_adapters",
    "answer_accuracy",
    "answer_loss",
    "deltas",
    "dequantized_base",
    "encode",
    "finish_qat",
    "fit",
    "freeze",
    "has_bitsandbytes",
    "merge",
    "prepare_qat",
    "quantize_base",
    "units",
]
