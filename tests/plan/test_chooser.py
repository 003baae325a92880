"""The lane chooser: what a device cannot run is never recommended, and says why."""

import pytest

from qcourse.plan import Accelerator, accelerator, lanes

MODEL = "Qwen/Qwen2.5-7B"


def by_recipe(device, **kwargs):
    return {lane.recipe: lane for lane in lanes(MODEL, device, context=4096, **kwargs)}


def test_fp8_leads_where_there_are_fp8_tensor_cores_and_not_before():
    assert lanes(MODEL, accelerator("H100"), 4096)[0].recipe == "fp8-dynamic"
    old = by_recipe(accelerator("A100"))
    assert not old["fp8-dynamic"].works and "8.9" in old["fp8-dynamic"].reason
    assert old["bf16"].works


def test_fp8_is_no_matter_of_cuda_and_int8_ends_with_hopper():
    assert by_recipe(accelerator("MI300X"))["fp8-dynamic"].works
    assert not by_recipe(accelerator("MI250X"))["fp8-dynamic"].works
    int8 = "smoothquant+w8a8-int8"
    assert by_recipe(accelerator("H100"))[int8].works
    assert "INT8 kernels stop at compute capability 9.0" in by_recipe(accelerator("B200"))[int8].reason


def test_an_fp8_cache_is_counted_in_the_fp8_lane():
    lane = by_recipe(accelerator("H100"))["fp8-dynamic"]
    assert lane.kv_cache_dtype == "fp8" and lane.plan.kv_cache_dtype == "fp8"


def test_what_does_not_fit_comes_last_and_says_so():
    found = lanes(MODEL, accelerator("T4"), 4096, batch=4)
    works = [lane.works for lane in found]
    assert works == sorted(works, reverse=True) and not works[-1]
    assert {lane.recipe: lane for lane in found}["bf16"].reason == "does not fit beside its KV cache"


@pytest.mark.parametrize(("flags", "runs"), [({"avx2"}, False), ({"avx2", "avx512f"}, True)])
def test_four_bit_vllm_on_a_cpu_is_gated_on_avx512(monkeypatch, flags, runs):
    monkeypatch.setattr("qcourse.plan.chooser.cpu_flags", lambda: frozenset(flags))
    cpu = Accelerator("cpu (test)", 64 * 10**9)
    found = lanes(MODEL, cpu, 4096)
    assert found[0].engine == "llama.cpp"
    awq = {lane.recipe: lane for lane in found}["awq-w4g128"]
    assert awq.runs is runs and (runs or "AVX-512" in awq.reason)
