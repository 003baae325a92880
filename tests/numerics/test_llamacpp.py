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


LARGEST = {  # steps of float16's 65504 that a weight may have: upwards, downwards
    "Q4_0": (8, 8), "Q5_0": (16, 16), "Q8_0": (127, 127), "IQ4_NL": (127, 127), "Q4_K": (63 * 15, 63),
    "Q6_K": (128 * 32, 128 * 32),
}  # fmt: skip


def one_weight(value: float) -> torch.Tensor:
    """Return a row of 512 small weights and, in its second half, one of this value."""
    weight = torch.randn(1, 512, generator=torch.Generator().manual_seed(6)) * 0.02
    weight[0, 300] = value
    return weight


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_weight_that_fits_is_kept(name, weighted, sign):
    steps = LARGEST[name][0 if sign > 0 else 1]
    exact = name == "Q8_0" or (name in ("Q4_0", "Q5_0") and not weighted)
    # A fit may put one weight on the level below the outermost as well: 7 of 8 in Q4_0, 113 of 127 in IQ4_NL.
    largest = sign * 65504.0 * steps * (1 if exact else 0.87)
    importance = torch.ones(512) if weighted else None
    restored = llamacpp.dequantize(llamacpp.quantize(one_weight(largest), name, importance), name)
    assert restored.isfinite().all()
    assert restored[0, 300] == pytest.approx(largest, rel=1e-3)
    assert (restored[0, :256] - one_weight(0)[0, :256]).abs().max() < 0.02


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("times", [1.01, 1e3, 1e12, 1e30])
def test_a_weight_beyond_float16_scales_is_refused(name, weighted, sign, times):
    value = sign * 65504.0 * LARGEST[name][0 if sign > 0 else 1] * times
    importance = torch.ones(512) if weighted else None
    with pytest.raises(ValueError, match=r"does not fit in \w+ \(limit \d+.*\); keep this weight in bf"):
        llamacpp.quantize(one_weight(min(max(value, -3e38), 3e38)), name, importance)


def test_scales_are_refused_where_float16_rounds_them_to_infinity():
    from qcourse.numerics.llamacpp_simple import half_bytes, half_values

    assert half_values(half_bytes(torch.tensor([65519.0, -65519.0]))).tolist() == [[65504], [-65504]]
    with pytest.raises(ValueError, match=r"a block's scale of 65520 does not fit in float16 \(limit 65504\)"):
        half_bytes(torch.tensor([1.0, -65520.0]))
