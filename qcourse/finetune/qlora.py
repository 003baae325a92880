"""QLoRA: a frozen quantized base under trainable low-rank adapters.

Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3, equation 5: the base
is dequantized inside the forward pass, gradients flow through it to the inputs,
and only the adapters' two matrices are updated.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.models import linears, products
from qcourse.models.library_limits import dequantizes_rightly, settle_4bit_layers
from qcourse.numerics.codebook import quantize_codebook
from qcourse.numerics.types import QuantizedWeight


class QuantizedLinear(nn.Linear):
    """A linear layer that stores codes and scales and dequantizes in its forward pass.

    Any QuantizedWeight will do: dequantization is a constant for autograd, so
    the gradient with respect to the input is grad @ weight whatever the format.
    """

    def __init__(self, quantized: QuantizedWeight, bias: Tensor | None = None) -> None:
        nn.Module.__init__(self)  # not nn.Linear's: there is no dense weight to allocate
        self.out_features, self.in_features = quantized.codes.shape
        self.quantized = quantized
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, float32 [out, in], computed anew at each access."""
        return self.quantized.dequantize()

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T + bias in x's dtype; x [..., in]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return products.linear(x, self.weight.to(x.dtype), bias)


def has_bitsandbytes() -> bool:
    """Return whether bitsandbytes imports; QLoRA falls back to our own NF4 where it does not."""
    try:
        import bitsandbytes  # noqa: F401
    except Exception:  # a broken CUDA set-up raises other errors than ImportError
        return False
    return True


def quantize_base(model: nn.Module, backend: str = "auto", double_quantization: bool = True) -> nn.Module:
    """Replace every decoder linear of `model` by an NF4 layer, blocks of 64, in place; freeze the rest.

    backend: "bitsandbytes", "own" (our codes, dequantized in PyTorch), or "auto": ours where bitsandbytes is
    absent, or on a CPU gets the widths of this model wrong.
    Linear biases, embeddings, norms and the output matrix keep their dtype.
    """
    if backend == "auto":
        backend = "bitsandbytes" if has_bitsandbytes() and runs_rightly(model) else "own"
    if backend not in {"bitsandbytes", "own"}:
        raise QCourseError(f"unknown NF4 backend {backend!r}; known: auto, bitsandbytes, own")
    make = _bitsandbytes_layer if backend == "bitsandbytes" else _own_layer
    for name, linear in linears(model).items():
        model.set_submodule(name, make(linear, double_quantization))
    settle_4bit_layers(model)
    model.is_loaded_in_4bit = backend == "bitsandbytes"  # how peft chooses its 4-bit layer
    return model.requires_grad_(False)


def runs_rightly(model: nn.Module) -> bool:
    """Return whether bitsandbytes dequantizes blocks of 64 in rows as long as this model's."""
    on_cpu = [linear for linear in linears(model).values() if linear.weight.device.type == "cpu"]
    return all(dequantizes_rightly(linear.in_features, 64) for linear in on_cpu)


def freeze(model: nn.Module, layers: Mapping[str, QuantizedWeight]) -> nn.Module:
    """Replace the named linears by QuantizedLinear, in place: a frozen base of any format (GPTQ, int8)."""
    for name, quantized in layers.items():
        model.set_submodule(name, QuantizedLinear(quantized, model.get_submodule(name).bias))
    return model.requires_grad_(False)


def _bitsandbytes_layer(linear: nn.Linear, double_quantization: bool) -> nn.Module:
    """Return bitsandbytes' Linear4bit with the same weight in NF4."""
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, linear.bias is not None,
        compute_dtype=products.product_dtype(linear.weight), compress_statistics=double_quantization,
        quant_type="nf4", device="meta"
    )  # fmt: skip
    layer.weight = bnb.nn.Params4bit(
        linear.weight.detach(), requires_grad=False, compress_statistics=double_quantization,
        quant_type="nf4", module=layer
    )  # fmt: skip
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return layer.to(linear.weight.device)  # the move is what quantizes


def _own_layer(linear: nn.Linear, double_quantization: bool) -> QuantizedLinear:
    """Return our NF4 layer with the same weight; equal to bitsandbytes' values."""
    quantized = quantize_codebook(
        linear.weight.detach(), block_size=64, kind="nf4", double_quantization=double_quantization
    )
    return QuantizedLinear(quantized, linear.bias)


def keep_gradients(model: nn.Module) -> list[str]:
    """Return the names of GPTQModel's layers in `model`, held to the kernel that passes gradients.

    Its CPU layer otherwise decides at the first forward: one in inference repacks the weights for a kernel
    under no_grad, and training then goes on with gradients that stop at every layer, without a word.
    Raises QCourseError when that has happened. Source: GPTQModel 7.5, torch_aten_kernel.py.
    """
    packed = {name: module for name, module in model.named_modules() if hasattr(module, "qweight")}
    for name, module in packed.items():
        if getattr(module, "linear_mode", None) == "inference":
            raise QCourseError(
                f"{name} has run inference and passes no gradients any more; "
                "load the checkpoint anew and add the adapters first"
            )
        if hasattr(module, "linear_mode"):
            module.linear_mode = "train"
    return list(packed)


def add_adapters(model: nn.Module, rank: int = 16, alpha: int = 32, seed: int = 0) -> nn.Module:
    """Return `model` wrapped by peft: on every decoder linear y = base(x) + alpha/rank * B(A(x)).

    A is [rank, in], drawn from `seed`; B is [out, rank] and zero, so that the
    model's outputs do not change before the first step. Both are float32.
    The base may also be a GPTQ checkpoint as transformers loads it.
    Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise QCourseError("adapters need peft, which is not installed; pip install peft") from error
    packed = keep_gradients(model)
    names = sorted({name.rsplit(".", 1)[-1] for name in [*linears(model), *packed]})
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)
