"""Plans: the contract's keys, what fits, the roofline, the device table."""

import dataclasses

import pytest
import yaml

from qcourse.common import QCourseError, data_folder
from qcourse.models import shape
from qcourse.plan import Accelerator, accelerator, plan, roofline
from qcourse.recipe import named

LLAMA = "meta-llama/Llama-3.1-8B"


def test_the_contracts_keys_and_their_sum():
    made = plan(LLAMA, "L4", "gptq-w4g128", context=8192, batch=4).to_dict()
    assert made["kv_bytes_per_token"] == 128 * 1024
    assert made["kv_cache_bytes"] == 128 * 1024 * 8192 * 4
    assert made["total_bytes"] == made["weights_bytes"] + made["kv_cache_bytes"]
    assert made["fits"] is True


def test_fits_turns_where_the_memory_ends():
    room = plan(LLAMA, "L4", "gptq-w4g128", context=8192).sequences
    assert plan(LLAMA, "L4", "gptq-w4g128", context=8192, batch=room).fits
    assert not plan(LLAMA, "L4", "gptq-w4g128", context=8192, batch=room + 1).fits


def test_a_70b_in_bf16_needs_more_than_one_h100_and_four_bits_do_not():
    assert not plan("meta-llama/Llama-3.1-70B", "H100").fits
    assert plan("meta-llama/Llama-3.1-70B", "H100", "gptq-w4g128").fits


def test_roofline_on_a_round_machine():
    device = Accelerator("round", 10**12, bandwidth=1e12, bf16_flops=1e15, fp8_flops=2e15)
    sizes = shape(LLAMA)
    one = roofline(sizes, named("bf16"), device, weights=16 * 10**9, kv=0, batch=1, context=1000)
    assert one.decode == pytest.approx(0.016) and one.decode_bound == "memory"
    operations = 2 * (sizes.linear_parameters + sizes.vocabulary * sizes.hidden)
    assert one.batch_at_ridge == pytest.approx(0.016 * 1e15 / operations)
    many = roofline(sizes, named("bf16"), device, 16 * 10**9, 0, 2 * int(one.batch_at_ridge) + 2, 1000)
    assert many.decode_bound == "compute"
    eight = roofline(sizes, named("fp8-dynamic"), device, 8 * 10**9, 0, 1, 100_000)
    assert eight.prefill == pytest.approx(100_000 * operations / 2e15)


def test_a_mixture_of_experts_multiplies_with_its_active_part_only():
    sizes = shape("mistralai/Mixtral-8x7B-v0.1")
    device = Accelerator("round", 10**12, bandwidth=1e12, bf16_flops=1e15)
    dense = dataclasses.replace(sizes, experts_per_token=sizes.experts)
    args = (named("bf16"), device, 1, 0, 1, 10_000)
    assert roofline(sizes, *args).prefill < roofline(dense, *args).prefill / 2


def test_no_bound_without_a_sourced_figure():
    made = plan(LLAMA, "RTX-4090", "gptq-w4g128")
    assert made.bounds is None and "are not tabled" in str(made)
    assert made.to_dict()["decode_seconds_at_least"] is None


def test_every_row_of_the_table_names_its_source():
    rows = yaml.safe_load((data_folder() / "hardware.yaml").read_text())
    assert len(rows) >= 8
    for row in rows:
        assert row["source"].startswith("http") and row["grade"] in ("vendor", "secondary"), row["name"]


def test_devices_by_alias_size_and_detection(monkeypatch):
    assert accelerator("a100").memory_bytes == 80 * 10**9
    assert accelerator("24GB").memory_bytes == 24 * 10**9
    card = {"name": "NVIDIA A100-SXM4-40GB", "memory_bytes": 42 * 10**9, "capability": "8.0", "driver": "570"}
    monkeypatch.setattr("qcourse.plan.hardware.gpus", lambda: (card,))
    assert accelerator().bandwidth == 1555e9 and accelerator().memory_bytes == 42 * 10**9
    monkeypatch.setattr("qcourse.plan.hardware.gpus", lambda: ())
    assert accelerator().is_cpu
    with pytest.raises(QCourseError, match="unknown GPU 'voodoo2'; known are"):
        accelerator("voodoo2")


def test_context_beyond_the_model_is_refused():
    with pytest.raises(QCourseError, match="takes at most 4,096 tokens, not 4,097"):
        plan("meta-llama/Llama-2-7b-hf", "L4", context=4097)
    with pytest.raises(QCourseError, match="at least 1"):
        plan(LLAMA, "L4", batch=0)
