"""The lane chooser: what a device cannot run is never recommended, and says why."""

import pytest
import yaml

from qcourse.common import QCourseError, data_folder
from qcourse.measure import scoreboard
from qcourse.plan import Accelerator, accelerator, chooser, lanes
from qcourse.plan.engines import can_run
from qcourse.recipe import named

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
    monkeypatch.setattr("qcourse.plan.engines.cpu_flags", lambda: frozenset(flags))
    cpu = Accelerator("cpu (test)", 64 * 10**9)
    found = lanes(MODEL, cpu, 4096)
    assert found[0].engine == "llama.cpp"
    awq = {lane.recipe: lane for lane in found}["awq-w4g128"]
    assert awq.runs is runs and (runs or "AVX-512" in awq.reason)


@pytest.mark.parametrize(("flags", "runs"), [({"avx2", "avx512f"}, False), ({"avx2", "avx512_vnni"}, True)])
def test_int8_in_vllm_on_a_cpu_is_gated_on_vnni(monkeypatch, flags, runs):
    monkeypatch.setattr("qcourse.common.machine.cpu_flags", lambda: frozenset(flags))
    cpu = Accelerator("cpu (test)", 64 * 10**9)
    found, reason = can_run(named("w8a8-int8"), "compressed-tensors", "vllm", cpu)
    assert found is runs and (runs or "VNNI" in reason)
    assert can_run(named("w8a8-int8"), "compressed-tensors", "transformers", cpu)[0]


@pytest.mark.parametrize(("workload", "first"), [
    ("chat", "fp8-dynamic"), ("long context", "fp8-dynamic"), ("batch", "fp8-dynamic"),
    ("code", "fp8-dynamic"), ("latency", "awq-w4g128"), ("edge", "gguf-q4_k_m"),
])  # fmt: skip
def test_the_workload_orders_the_lanes(workload, first):
    assert lanes(MODEL, accelerator("H100"), 4096, workload=workload)[0].recipe == first


def test_latency_puts_the_fewest_bytes_first():
    found = [lane for lane in lanes(MODEL, accelerator("H100"), 4096, workload="latency") if lane.works]
    assert found[0].plan.bounds.decode < found[-1].plan.bounds.decode


def test_the_quality_floor_moves_what_is_below_it_behind():
    found = lanes(MODEL, accelerator("H100"), 4096, workload="latency", floor=0.9)
    assert found[0].agreement >= 0.9 and found[0].recipe in ("bf16", "smoothquant+w8a8-int8")
    last = [lane for lane in found if lane.works][-1]
    assert last.agreement is None or last.agreement < 0.9


def test_a_lane_explains_itself_with_evidence_that_is_there():
    known = {row["id"] for row in yaml.safe_load((data_folder() / "claims.yaml").read_text())["claims"]}
    for lane in lanes(MODEL, accelerator("H100"), 4096):
        assert set(lane.advice["claims"]) <= known and lane.agreement is not None, lane.recipe
        assert set(lane.agreements) == {"pico", "smollm2"} and lane.agreement == min(lane.agreements.values())
        text = lane.explain()
        assert all(word in text for word in ("evidence", "flags", "measure first", "disagreement"))
    assert "--kv-cache-dtype fp8" in by_recipe(accelerator("H100"))["fp8-dynamic"].flags


def test_each_scoreboard_is_read_once_for_all_lanes(monkeypatch):
    paths = []
    monkeypatch.setattr(
        scoreboard, "read", lambda path, read=scoreboard.read: (paths.append(path), read(path))[1]
    )
    chooser.own_rows.cache_clear()
    assert all(lane.agreements for lane in lanes(MODEL, accelerator("H100"), 4096))
    assert sorted(paths) == sorted(scoreboard.kept().values())


def test_unknown_workloads_and_floors_are_one_sentence():
    with pytest.raises(QCourseError, match="unknown workload 'chess'; known are chat, code, long context"):
        lanes(MODEL, accelerator("H100"), workload="chess")
    with pytest.raises(QCourseError, match="between 0 and 1, not 90"):
        lanes(MODEL, accelerator("H100"), floor=90)


def test_a_lane_that_the_devices_cannot_share_says_why():
    small = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512,
             "max_position_embeddings": 4096}  # fmt: skip
    found = {lane.recipe: lane for lane in lanes(small, accelerator("L4"), tensor_parallel=4)}
    assert (
        not found["gptq-w4g128"].works and "256 columns in groups of 128 on 4" in found["gptq-w4g128"].reason
    )
    assert found["bf16"].works and found["bf16"].plan.tensor_parallel == 4
