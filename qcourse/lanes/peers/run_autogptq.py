"""Quantize with AutoGPTQ 0.7.1 on a CPU: run_autogptq.py MODEL TOKENS.json TARGET BITS GROUP_SIZE DESC_ACT.

Runs in .venv-peers. AutoGPTQ supposes CUDA in three places; each is bypassed here.
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.cuda.synchronize = lambda *arguments: None

import auto_gptq.modeling._base as base  # noqa: E402
from auto_gptq import BaseQuantizeConfig  # noqa: E402
from auto_gptq.modeling._const import SUPPORTED_MODELS  # noqa: E402
from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP  # noqa: E402

base.CUDA_0 = torch.device("cpu")


def main(source: str, tokens: str, target: str, bits: str, group_size: str, desc_act: str) -> None:
    """Quantize the model in `source` on the token ids and save checkpoint, tokenizer and dense weights."""
    model = AutoModelForCausalLM.from_pretrained(source, torch_dtype=torch.float16)
    settings = BaseQuantizeConfig(bits=int(bits), group_size=int(group_size), desc_act=desc_act == "1")
    assert model.config.model_type in SUPPORTED_MODELS, model.config.model_type
    wrapper = GPTQ_CAUSAL_LM_MODEL_MAP[model.config.model_type](model, False, settings)
    with open(tokens) as stream:
        samples = [torch.tensor([ids]) for ids in json.load(stream)]
    wrapper.quantize([{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in samples])
    wrapper.save_quantized(target, use_safetensors=True)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    os.mkdir(os.path.join(target, "dequantized"))
    save_file(dense(model), os.path.join(target, "dequantized", "weights.safetensors"))


@torch.no_grad()
def dense(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return each quantized linear as the library computes with it: its output for the unit vectors."""
    found = {}
    for name, module in model.named_modules():
        if hasattr(module, "qweight"):
            bias, module.bias = module.bias, None
            unit = torch.eye(module.infeatures, dtype=torch.float16)
            found[name] = module(unit).T.to(torch.float16).contiguous()
            module.bias = bias
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
