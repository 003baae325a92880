"""LLM.int8(), W8A8, NF4 and FP8 layers: equal to the libraries that compute them."""

import re

import pytest
import torch

from qcourse.methods import fp4, fp8, llm_int8, nf4, w8a8_int8


def test_llm_int8_codes_equal_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    codes, absmax, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
    ours = llm_int8.quantize_layer(weight)
    assert (ours.codes == codes).float().mean() > 0.999  # theirs multiplies in float16, which may move a tie
    assert (ours.codes.int() - codes.int()).abs().max() <= 1
    assert torch.allclose(ours.scale[:, 0] * 127, absmax)
    assert ours.bits_per_weight() == pytest.approx(8 + 32 / 96)


def test_mixed_matmul_keeps_outlier_features_exact():
    generator = torch.Generator().manual_seed(1)
    inputs, weight = torch.randn(32, 96, generator=generator), torch.randn(16, 96, generator=generator)
    inputs[:, 5] *= 40
    exact = inputs @ weight.T
    mixed = (llm_int8.mixed_matmul(inputs, weight) - exact).abs().mean()
    all_int8 = (llm_int8.mixed_matmul(inputs, weight, threshold=0) - exact).abs().mean()
    assert mixed < 0.2 * all_int8
    kept = llm_int8.mixed_matmul(
        inputs, weight, threshold=1e-9
    )  # every feature is an outlier: nothing is rounded
    assert torch.allclose(kept, exact, atol=1e-4)
    assert llm_int8.mixed_matmul(inputs.reshape(4, 8, 96), weight).shape == (4, 8, 16)


def test_mixed_matmul_equals_bitsandbytes_linear():
    modules = pytest.importorskip("bitsandbytes.nn")
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(64, 96, generator=generator).to(torch.float16)
    linear = modules.Linear8bitLt(96, 64, bias=False, has_fp16_weights=False, threshold=6.0)
    linear.weight = modules.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False)
    linear = linear.to("cpu").eval()  # in training mode the CPU library does not round its inputs
    inputs = torch.randn(32, 96, generator=generator).to(torch.float16)
    inputs[:, 3] *= 20
    theirs = linear(inputs).float()
    ours = llm_int8.mixed_matmul(inputs, llm_int8.quantize_layer(weight).dequantize())
    spread = theirs.abs().mean()
    assert (ours - theirs).abs().max() < 0.02 * spread
    assert (inputs.float() @ weight.float().T - theirs).abs().mean() > 3 * (ours - theirs).abs().mean()


def test_w8a8_weight_equals_compressed_tensors_on_the_stored_scale():
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import quantize

    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(3))
    ours = w8a8_int8.quantize_layer(weight)
    arguments = QuantizationArgs(num_bits=8, symmetric=True, strategy="channel")
    assert torch.equal(ours.codes, quantize(weight, ours.scale, None, arguments, dtype=torch.int8))
    assert torch.allclose(ours.scale, weight.abs().amax(1, keepdim=True) / 127.5, rtol=2**-8)


def test_w8a8_activations():
    inputs = torch.tensor([[[1.27, -1.27, 0.012]], [[0.0, 0.0, 0.0]]])
    dynamic = w8a8_int8.fake_quantize_tokens(inputs)
    assert torch.allclose(dynamic, torch.tensor([[[1.27, -1.27, 0.01]], [[0.0, 0.0, 0.0]]]))
    static = w8a8_int8.fake_quantize_static(inputs, 0.005)
    assert static[0, 0].tolist() == pytest.approx([0.635, -0.64, 0.01])  # saturated at 127 and -128 steps


def test_nf4_and_fp8_layers_pass_their_settings_on():
    weight = torch.randn(128, 256)
    assert nf4.quantize_layer(weight).bits_per_weight() < 4.2
    assert nf4.quantize_layer(weight, double_quantization=False).bits_per_weight() == 4.5
    assert fp8.quantize_layer(weight, granularity="block").scale.shape == (1, 2)
    with pytest.raises(ValueError, match="scales 'mx' and 'nv', not 'e4m3'"):
        fp4.quantize_layer(weight, scales="e4m3")


@pytest.mark.parametrize("method", [llm_int8, w8a8_int8, nf4, fp8])
def test_values_not_finite_are_named(method):
    weight = torch.randn(8, 64)
    weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match="1 infinite"):
        method.quantize_layer(weight)


def test_llm_int8_takes_what_float16_holds_and_refuses_the_rest():
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(4)) * 0.02
    for largest in (65504.0, -65519.0):  # float16 rounds up to 65520, not included, to 65504
        weight[2, 3] = largest
        restored = llm_int8.quantize_layer(weight).dequantize()
        assert restored.isfinite().all() and abs(restored[2, 3]) == pytest.approx(65504)
    for larger in (65520.0, -1e5, 3e38):
        weight[2, 3] = larger
        words = re.escape(f"a weight of {abs(larger):.6g} does not fit in float16 (limit 65504); take")
        with pytest.raises(ValueError, match=words):
            llm_int8.quantize_layer(weight)
    weight[2, 3] = 1e5
    for other in (nf4, w8a8_int8):  # what the sentence says to take
        assert other.quantize_layer(weight).dequantize()[2, 3] == pytest.approx(1e5, rel=0.01)


def test_bitsandbytes_makes_nan_of_what_llm_int8_refuses():
    modules = pytest.importorskip("bitsandbytes.nn")
    weight = torch.full((16, 64), 0.02)
    weight[2, 3] = 1e5
    linear = modules.Linear8bitLt(64, 16, bias=False, has_fp16_weights=False)
    linear.weight = modules.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    outputs = linear.to("cpu").eval()(torch.ones(2, 64, dtype=torch.float16))
    assert outputs[:, 2].isnan().all() and outputs[:, :2].isfinite().all()
