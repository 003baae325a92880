"""What llm-compressor and compressed-tensors compute themselves: their own scales, zero points and codes."""

from types import SimpleNamespace

from torch import Tensor

from tests.engines import require


def compressed_tensors(weight: Tensor, lane: str, **settings) -> SimpleNamespace:
    """Quantize a weight [out, in] with nothing of ours: scale and zero point from llm-compressor's observer.

    settings: of QuantizationArgs. Returns scale, zero (None for 0), divisor (NVFP4's, else None), codes and
    the dequantized weight. Strategy "token" takes the dynamic scales that the library computes for inputs.
    """
    require("compressed-tensors", lane)
    require("llmcompressor", lane)
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize, quantize
    from compressed_tensors.quantization.utils.helpers import compute_dynamic_scales_and_zp
    from llmcompressor.observers import Observer

    arguments = QuantizationArgs(**settings)
    if arguments.dynamic:
        weight = weight[None]  # [batch, tokens, features]
        scale, zero = compute_dynamic_scales_and_zp(weight, arguments, None)
        divisor = None
    else:
        observer = Observer.load_from_registry("memoryless_minmax", base_name="weight", args=arguments)
        found = observer(weight).get_qparams()
        scale, zero, divisor = found["scale"], found["zero_point"], found["global_scale"]
    rest = (scale, zero, arguments)
    return SimpleNamespace(
        scale=scale,
        zero=zero,
        divisor=divisor,
        codes=quantize(weight, *rest, global_scale=divisor).reshape(weight.shape[-2:]),
        dense=fake_quantize(weight, *rest, global_scale=divisor).reshape(weight.shape[-2:]),
    )


def gptq(groups: Tensor, bits: int, symmetric: bool, textbook: bool = False) -> SimpleNamespace:
    """Quantize groups [n, columns] as GPTQModel does, a scale each: scale, zero (codes' offset), dense.

    textbook: the grid of its QQQ, symmetric integers -(2**(bits-1) - 1) .. 2**(bits-1) - 1.
    """
    require("gptqmodel", "integer grids")
    from gptqmodel.quantization.quantizer import QQQQuantizer, Quantizer

    settings = SimpleNamespace(bits=bits, sym=symmetric, group_size=-1 if textbook else 128, mse=0.0)
    quantizer = (QQQQuantizer if textbook else Quantizer)(settings)
    quantizer.configure(perchannel=True)
    quantizer.find_params(groups, weight=True)
    return SimpleNamespace(
        scale=quantizer.scale[:, 0], zero=quantizer.zero[:, 0], dense=quantizer.quantize(groups)
    )
