"""Training after or under quantization: adapters on a quantized base, merging, training with rounding.

rows = encode(tokenizer, units.items("train"))
adapted = add_adapters(quantize_base(model), rank=16)
fit(adapted, rows, steps=150)
merge(fresh_model, deltas(adapted), base=base_weights)
"""

from qcourse.finetune.adam8bit import AdamW8bit
from qcourse.finetune.adapter import load_adapter, read_adapter, save_adapter
from qcourse.finetune.answers import TokenizedExample, answer_accuracy, answer_loss, encode
from qcourse.finetune.block_qat import block_qat
from qcourse.finetune.loop import TrainingLog, fit
from qcourse.finetune.merge import deltas, dequantized_base, merge
from qcourse.finetune.qat import QuantizationAware, finish_qat, prepare_qat
from qcourse.finetune.qlora import QuantizedLinear, add_adapters, freeze, has_bitsandbytes, quantize_base
from qcourse.finetune.replay import Replay
from qcourse.finetune.reuse import clipped_share, input_scales, on_grid_of, reuse_scales, use_input_scales

__all__ = [
    "AdamW8bit", "QuantizationAware", "QuantizedLinear", "Replay", "TokenizedExample", "TrainingLog",
    "add_adapters", "answer_accuracy", "answer_loss", "block_qat", "clipped_share", "deltas",
    "dequantized_base", "encode", "finish_qat", "fit", "freeze", "has_bitsandbytes", "input_scales",
    "load_adapter", "merge", "on_grid_of", "prepare_qat", "quantize_base", "read_adapter", "reuse_scales",
    "save_adapter", "use_input_scales",
]  # fmt: skip
