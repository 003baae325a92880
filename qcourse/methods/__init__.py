"""How to choose the codes of one linear layer: one algorithm a file, each a function `quantize_layer`."""

from qcourse.methods import fp4, fp8, gptq, gptq_fast, llm_int8, nf4, rtn, signround, w8a8_int8

__all__ = ["fp4", "fp8", "gptq", "gptq_fast", "llm_int8", "nf4", "rtn", "signround", "w8a8_int8"]
