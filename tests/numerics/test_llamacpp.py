"""llama.cpp's blocks: dequantization equal to gguf-py's bits, quantization as good as llama.cpp's."""

import ctypes

import pytest
import torch

from qcourse.numerics import llamacpp

NAMES = list(llamacpp.FORMATS)


@pytest.fixture(scope="module")
def gguf():
    return pytest.importorskip("gguf")


def rows(seed: int = 0) -> torch.Tensor:
    """Sixteen rows of 512 with zeros, a constant block, one huge value and unequal sizes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(16, 512, generator=generator) * torch.rand(16, 1, generator=generator) * 0.1
    weight[0, :256] = 0
    weight[1, :256] = 0.02
    weight[2, 5] = 3.0
    return weight


def rmse(weight: torch.Tensor, other: torch.Tensor) -> float:
    return float((weight - other).square().mean().sqrt())


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_mean_what_gguf_says(gguf, name):
    form = llamacpp.FORMATS[name]
    data = torch.randint(
        0, 256, (64, form.bytes), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    half = torch.rand(64, 1, generator=torch.Generator().manual_seed(2)).to(torch.float16).view(torch.uint8)
    places = {"Q6_K": [208], "Q4_K": [0, 2]}.get(name, [0])
    for place in places:  # random bytes would give scales that are NaN
        data[:, place : place + 2] = half
    theirs = gguf.quants.dequantize(data.numpy(), gguf.GGMLQuantizationType[name])
    assert torch.equal(llamacpp.dequantize(data, name), torch.from_numpy(theirs.copy()))


@pytest.mark.parametrize("name", NAMES)
def test_our_bytes_are_read_back_by_gguf(gguf, name):
    weight = rows()
    data = llamacpp.quantize(weight, name)
    theirs = torch.from_numpy(gguf.quants.dequantize(data.numpy(), gguf.GGMLQuantizationType[name]).copy())
    assert torch.equal(llamacpp.dequantize(data, name), theirs)
    assert rmse(weight[3:], theirs[3:]) < 0.13 * float(weight[3:].square().mean().sqrt())
    assert theirs[0, :256].abs().max() == 0
    assert llamacpp.bits_per_weight(name) == data.numel() * 8 / weight.numel()


@pytest.mark.parametrize("name", ["Q4_0", "Q5_0", "Q8_0"])
def test_simple_formats_equal_gguf_s_quantizer(gguf, name):
    weight = rows(3)
    theirs = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType[name])
    assert torch.equal(llamacpp.quantize(weight, name), torch.from_numpy(theirs.copy()))


def ggml_quantize(name: str, weight: torch.Tensor, importance: torch.Tensor | None) -> torch.Tensor:
    """Return the bytes that llama.cpp's own ggml_quantize_chunk writes."""
    import gguf
    import llama_cpp

    library = llama_cpp.llama_cpp._lib
    chunk = library.ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    form = llamacpp.FORMATS[name]
    data = torch.zeros(weight.shape[0], weight.shape[1] // form.weights * form.bytes, dtype=torch.uint8)
    weights = None if importance is None else importance.contiguous().data_ptr()
    kind = int(gguf.GGMLQuantizationType[name])
    chunk(kind, weight.contiguous().data_ptr(), data.data_ptr(), 0, *weight.shape, weights)
    return data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
def test_error_is_no_more_than_llama_cpp_s(name, weighted):
    pytest.importorskip("llama_cpp")
    weight = rows(4)[3:]
    importance = torch.exp(torch.randn(512, generator=torch.Generator().manual_seed(5))) if weighted else None
    theirs = llamacpp.dequantize(ggml_quantize(name, weight, importance), name)
    ours = llamacpp.dequantize(llamacpp.quantize(weight, name, importance), name)
    counted = importance.sqrt() if weighted else torch.ones(512)
    assert rmse(weight * counted, ours * counted) < 1.001 * rmse(weight * counted, theirs * counted)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="unknown block format 'Q9_Z'; known are Q4_0"):
        llamacpp.quantize(torch.randn(2, 32), "Q9_Z")
    with pytest.raises(ValueError, match="multiple of 256 weights, not 172"):
        llamacpp.quantize(torch.randn(2, 172), "Q4_K")
    with pytest.raises(ValueError, match="1 NaN"):
        llamacpp.quantize(torch.full((1, 32), float("nan")).index_fill(1, torch.arange(31), 0.0), "Q4_0")
    with pytest.raises(ValueError, match="blocks of 18 bytes"):
        llamacpp.dequantize(torch.zeros(1, 19, dtype=torch.uint8), "Q4_0")
