"""The memory arithmetic against published figures, a built model's own count, and its limits."""

import pytest

from qcourse.common import QCourseError
from qcourse.models import shape
from qcourse.plan import KV_BYTES, bits_per_linear_weight, kv_bytes_per_token, weights_bytes
from qcourse.plan.memory import GGUF_BITS
from qcourse.recipe import named

LLAMA_2_7B, LLAMA_3_8B = "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize(("model", "gigabytes"), [(LLAMA_2_7B, 3.89), (LLAMA_3_8B, 5.73)])
def test_four_bits_in_groups_of_128_with_zero_points(model, gigabytes):
    assert weights_bytes(shape(model), named("rtn-w4g128-asym")) / 1e9 == pytest.approx(gigabytes, abs=0.005)


@pytest.mark.parametrize(
    ("model", "kib"),
    [(LLAMA_2_7B, 512), ("meta-llama/Llama-2-13b-hf", 800), (LLAMA_3_8B, 128),
     ("mistralai/Mistral-7B-v0.1", 128), ("Qwen/Qwen2.5-7B", 56), ("meta-llama/Llama-3.1-70B", 320)],
)  # fmt: skip
def test_kv_cache_per_token(model, kib):
    assert kv_bytes_per_token(shape(model)) == kib * 1024
    assert kv_bytes_per_token(shape(model), "fp8") == kib * 512


def test_sixteen_bits_is_two_bytes_a_parameter():
    assert weights_bytes(shape(LLAMA_3_8B), named("bf16")) == 2 * shape(LLAMA_3_8B).total_parameters
    assert shape(LLAMA_3_8B).total_parameters == 8_030_261_248  # as its model card's safetensors say


def test_linear_shapes_add_up_to_the_models_own_count():
    for model in (LLAMA_3_8B, "Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-0.6B"):
        count = sum(one.rows * one.columns * one.count for one in shape(model).linears)
        assert count == shape(model).linear_parameters


def test_llama_cpp_prints_the_same_size_for_its_own_model():
    gib = weights_bytes(shape(LLAMA_3_8B), named("gguf-q4_k_m")) / 2**30
    assert gib == pytest.approx(4.58, abs=0.01)


@pytest.mark.parametrize(
    ("recipe", "bits"),
    [("rtn-w4g128", 4.125), ("rtn-w4g128-asym", 4.15625), ("gptq-w3g64", 3.25),
     ("nf4", 4 + 8 / 64 + 32 / 16384), ("nf4-single", 4.5), ("mxfp4", 4.25), ("nvfp4", 4.5),
     ("w8a8-int8", 8 + 16 / 4096), ("bf16", 16)],
)  # fmt: skip
def test_bits_per_weight(recipe, bits):
    assert bits_per_linear_weight(named(recipe), 4096) == pytest.approx(bits)


def test_every_unknown_is_one_sentence():
    with pytest.raises(QCourseError, match="unknown KV cache type 'fp3'; known are auto"):
        kv_bytes_per_token(shape(LLAMA_3_8B), "fp3")
    with pytest.raises(QCourseError, match="IQ1_S GGUF is not tabled"):
        weights_bytes(shape(LLAMA_3_8B), named("gguf-iq1_s"))
    assert min(KV_BYTES.values()) > 0 and min(GGUF_BITS.values()) > 1
