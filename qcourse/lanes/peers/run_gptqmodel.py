"""Quantize with GPTQModel on a CPU: run_gptqmodel.py MODEL TOKENS.json TARGET BITS GROUP_SIZE DESC_ACT.

Runs in the main environment. The checkpoint is loaded once more, in float16, for the library's own weights.
"""

import json
import os
import sys

os.environ.setdefault(
    "GPTQMODEL_CPU_WORKERS", "2"
)  # the library refuses fewer, and takes more than two cores

import torch  # noqa: E402
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def main(source: str, tokens: str, target: str, bits: str, group_size: str, desc_act: str) -> None:
    """Quantize the model in `source` on the token ids and save checkpoint and dense weights."""
    order = {"desc_act": True, "act_group_aware": False} if desc_act == "1" else {}
    settings = QuantizeConfig(bits=int(bits), group_size=int(group_size), **order)
    model = GPTQModel.load(source, settings, device="cpu")
    with open(tokens) as stream:
        samples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in json.load(stream)]
    model.quantize(samples, batch_size=1)
    model.save(target)
    loaded = GPTQModel.load(target, backend=BACKEND.TORCH, device="cpu", dtype=torch.float16).model
    os.mkdir(os.path.join(target, "dequantized"))
    save_file(dense(loaded), os.path.join(target, "dequantized", "weights.safetensors"))


@torch.no_grad()
def dense(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return each quantized linear as the library dequantizes it, float16 [out, in]."""
    linears = {name: module for name, module in model.named_modules() if hasattr(module, "qweight")}
    return {name: module.dequantize_weight().T.half().contiguous() for name, module in linears.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
