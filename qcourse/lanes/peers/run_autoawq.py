"""Quantize with AutoAWQ 0.2.9 on a CPU: run_autoawq.py MODEL TOKENS.json TARGET BITS GROUP_SIZE -.

Runs in .venv-peers, in bfloat16, which is several times faster there than float32.
"""

import json
import os
import shutil
import sys

import torch
from awq import AutoAWQForCausalLM
from awq.quantize.quantizer import AwqQuantizer
from awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import save_file
from transformers import AutoTokenizer


def main(source: str, tokens: str, target: str, bits: str, group_size: str, _: str) -> None:
    """Quantize the model in `source` on the token ids and save checkpoint, tokenizer and dense weights."""
    model = AutoAWQForCausalLM.from_pretrained(
        source, device_map="cpu", torch_dtype=torch.bfloat16, use_cache=False, safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(source)
    with open(tokens) as stream:
        samples = json.load(stream)
    settings = {"zero_point": True, "q_group_size": int(group_size), "w_bit": int(bits), "version": "GEMM"}
    model.quantize(
        tokenizer, quant_config=settings, calib_data=samples, max_calib_samples=len(samples),
        max_calib_seq_len=len(samples[0]), export_compatible=bits != "4", quantizer_cls=Quantizer,
    )  # fmt: skip
    if bits != "4":  # its files hold 4 bits only: the rounded weights are kept as a dense checkpoint
        return save_rounded(model, source, target)
    model.save_quantized(target)
    tokenizer.save_pretrained(target)
    os.mkdir(os.path.join(target, "dequantized"))
    save_file(dense(model), os.path.join(target, "dequantized", "weights.safetensors"))


class Quantizer(AwqQuantizer):
    """AutoAWQ's search with a true copy of the weights that it puts back after each candidate scale.

    It keeps them by .cpu(), which copies on a GPU only: on a CPU the first candidate's scale stays in the
    weights, no norm divides by it, and the function changes before anything is rounded (pico's KL: 0.33).
    """

    def _compute_best_scale(self, x, w_mean, x_mean, module, *rest):  # type: ignore[no-untyped-def]
        kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.state_dict = lambda: kept
        try:
            return super()._compute_best_scale(x, w_mean, x_mean, module, *rest)
        finally:
            del module.state_dict


@torch.no_grad()
def save_rounded(model: torch.nn.Module, source: str, target: str) -> None:
    """Save the scaled and clipped model with its decoder linears rounded as the library rounds, float32."""
    tensors = {name: tensor.float().contiguous() for name, tensor in model.model.state_dict().items()}
    for name, module in model.model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            rounded = model.quantizer.pseudo_quantize_tensor(module.weight.data.half())[0]
            tensors[f"{name}.weight"] = rounded.float().contiguous()
    if model.model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    os.makedirs(target)
    save_file(tensors, os.path.join(target, "model.safetensors"))
    shutil.copy(os.path.join(source, "config.json"), target)


@torch.no_grad()
def dense(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return each quantized linear as the library dequantizes it, float16 [out, in]."""
    found = {}
    for name, module in model.model.named_modules():
        if hasattr(module, "qweight"):
            weight = dequantize_gemm(
                module.qweight, module.qzeros, module.scales, module.w_bit, module.group_size
            )
            found[name] = weight.T.to(torch.float16).contiguous()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
