"""The weights of GPTQModel, AutoGPTQ, AutoAWQ, llm-compressor, llama.cpp and bitsandbytes, by our readers."""

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from qcourse.bench.quality.cases import Case
from qcourse.bench.quality.inputs import Inputs


def weights(peer: str, case: Case, inputs: Inputs) -> dict[str, Tensor]:
    """Return the dense weights that a library gives a model, float32 by name.

    Raises QCourseError when the library is not installed or fails.
    """
    from qcourse.export import gguf, read
    from qcourse.lanes import peers

    settings, folder, tokens = case.peers[peer], inputs.folder, inputs.tokens
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "theirs"
        if peer == "llama.cpp":
            target = target.with_suffix(".gguf")
            return gguf.read(gguf.quantize(inputs.bf16, target, settings["kind"], inputs.importance))
        if peer == "llm-compressor":
            return read(llm_compressor(folder, tokens, target, **settings))
        if peer == "bitsandbytes":
            return read(bitsandbytes(folder, target, **settings))
        return read(peers.quantize(peer.lower(), folder, tokens, target, **settings))


def llm_compressor(
    folder: Path, tokens: Tensor, target: Path, method: str, bits: int = 8, scheme: str = ""
) -> Path:
    """Write llm-compressor's checkpoint: "gptq" or "awq" in groups of 128, or plain rounding by a scheme."""
    from qcourse import models
    from qcourse.lanes import libraries
    from qcourse.models import products

    base = models.load(folder)
    if method == "gptq":
        libraries.llmcompressor_gptq(base.model, base.tokenizer, tokens, bits)
    elif method == "awq":
        libraries.llmcompressor_awq(base.model, base.tokenizer, tokens, bits)
    else:
        with libraries.silent():
            from llmcompressor import oneshot
            from llmcompressor.modifiers.quantization import QuantizationModifier
        with libraries.silent():
            rounding = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
            oneshot(model=products.narrow(base.model), recipe=rounding)
    with libraries.silent():
        base.model.save_pretrained(target, save_compressed=True)
    return target


def bitsandbytes(folder: Path, target: Path, int8: bool = False, double: bool = True) -> Path:
    """Write the checkpoint that transformers makes by bitsandbytes: NF4 in blocks of 64, or int8 rows."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double,
            "bnb_4bit_compute_dtype": torch.bfloat16}  # fmt: skip
    settings: Any = BitsAndBytesConfig(**({"load_in_8bit": True} if int8 else four))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=settings)
    model.save_pretrained(target)
    return target
