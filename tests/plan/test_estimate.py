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
    every = tuple(one._replace(active=one.count) for one in sizes.linears)
    dense = dataclasses.replace(sizes, linears=every)
    args = (named("bf16"), device, 1, 0, 1, 10_000)
    assert roofline(sizes, *args).prefill < roofline(dense, *args).prefill / 2


@pytest.mark.parametrize(("model", "gpu", "milliseconds"), [
    ("mistralai/Mixtral-8x7B-v0.1", "L4", 86.8), ("Qwen/Qwen3-30B-A3B", "H100", 1.95), (LLAMA, "L4", 51.8),
])  # fmt: skip
def test_a_decode_step_reads_what_one_token_uses(model, gpu, milliseconds):
    assert 1e3 * plan(model, gpu).bounds.decode == pytest.approx(milliseconds, rel=0.01)


def test_the_ridge_counts_the_kv_cache_of_every_sequence():
    """At 4,096 tokens a sequence's cache takes longer to read than its token to compute: no batch turns."""
    many = plan(LLAMA, "L4", batch=1000)
    assert many.bounds.decode_bound == "memory" and many.bounds.batch_at_ridge is None
    assert "at every batch" in str(many)
    short = plan(LLAMA, "L4", context=64).bounds.batch_at_ridge
    assert plan(LLAMA, "L4", context=64, batch=int(short)).bounds.decode_bound == "memory"
    assert plan(LLAMA, "L4", context=64, batch=int(short) + 1).bounds.decode_bound == "compute"


def test_models_published_quantized_are_counted_as_published():
    oss = plan("openai/gpt-oss-20b", "H100")
    assert oss.weights_bytes / 1e9 == pytest.approx(13.76, rel=0.01) and "mxfp4 as published" in str(oss)
    assert plan("openai/gpt-oss-20b", "H100", "bf16").weights_bytes / 1e9 == pytest.approx(41.8, rel=0.01)
    deepseek = plan("deepseek-ai/DeepSeek-V3", "H100")
    assert deepseek.weights_bytes / 1e9 == pytest.approx(673, rel=0.01) and not deepseek.fits


def test_tensor_parallel_shares_the_weights_and_refuses_what_cannot_be_split():
    two = plan("meta-llama/Llama-3.1-70B", "H100", tensor_parallel=4)
    assert two.fits and two.device_bytes == pytest.approx(two.total_bytes / 4)
    assert two.to_dict()["total_bytes"] == two.weights_bytes + two.kv_cache_bytes
    shared = plan("deepseek-ai/DeepSeek-V3", "H200", tensor_parallel=8)
    assert shared.device_bytes == pytest.approx(shared.weights_bytes / 8 + shared.kv_cache_bytes)
    small = {**KNOWN, "hidden_size": 256, "intermediate_size": 256}
    with pytest.raises(QCourseError, match="256 columns in groups of 128 on 4 devices: 64 columns each"):
        plan(small, "L4", "gptq-w4g128", tensor_parallel=4)
    assert plan(small, "L4", "gptq-w4g128", tensor_parallel=2).weights_bytes
    with pytest.raises(QCourseError, match="28 attention heads cannot be dealt to 8 devices: 28 / 8 = 3.5"):
        plan("Qwen/Qwen2.5-7B", "L4", tensor_parallel=8)


KNOWN = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
         "vocab_size": 512, "max_position_embeddings": 4096}  # fmt: skip


def test_the_kept_tenth_is_named_where_it_decides():
    close = plan(LLAMA, "17GB")
    assert not close.fits and "only because 10% is kept for the engine" in str(close)


def test_no_bound_without_a_sourced_figure():
    made = plan(LLAMA, "24GB", "gptq-w4g128")
    assert made.bounds is None and "not known" in str(made)
    assert made.to_dict()["decode_seconds_at_least"] is None


ROWS = yaml.safe_load((data_folder() / "hardware.yaml").read_text())


def test_every_row_of_the_table_names_its_source():
    assert len(ROWS) >= 35 and len({row["name"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert "http" in row["source"], row["name"]
        assert row["grade"] in ("datasheet", "documentation", "secondary"), row["name"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_rates_and_units_are_plausible(row):
    """Dense rates double as the width halves (FP8 and INT8 alike; Gaudi 3 and CDNA2 do not double)."""
    assert 8 <= row["memory_gb"] <= 300 and 50 <= row["bandwidth_gbs"] <= 8200
    rates = [row["bf16_tflops"], row["fp8_tflops"], row["fp4_tflops"]]
    assert all(rate is None or 20 <= rate <= 15_000 for rate in rates)
    if row["bf16_tflops"] and row["fp8_tflops"] and row["name"] != "Gaudi-3":
        assert row["fp8_tflops"] / row["bf16_tflops"] == pytest.approx(2, rel=0.03)
    if row["bf16_tflops"] and row["int8_tops"] and not row["name"].startswith(("MI2", "RTX-4", "RTX-5")):
        assert row["int8_tops"] / row["bf16_tflops"] == pytest.approx(2, rel=0.03)
    if row["bf16_tflops"]:
        assert 50 <= 1e3 * row["bf16_tflops"] / row["bandwidth_gbs"] <= 500  # operations a byte
    assert bool(row["fp8_tflops"]) <= ("fp8" in row["formats"]) and bool(row["fp4_tflops"]) <= (
        "fp4" in row["formats"]
    )
    if row["capability"]:
        assert ("fp8" in row["formats"]) == (float(row["capability"]) >= 8.9)


@pytest.mark.parametrize(("name", "field", "value"), [
    ("L4", "fp8_flops", 242e12), ("RTX-3090", "capability", "8.6"), ("MI300X", "fp8_flops", 2615e12),
    ("H100", "bf16_flops", 989e12), ("RTX-4090", "bandwidth", 1008e9), ("A100", "bandwidth", 2039e9),
])  # fmt: skip
def test_figures_that_were_missing_or_wrong(name, field, value):
    assert getattr(accelerator(name), field) == value


def test_one_card_has_many_names_and_sizes_have_units():
    cards = {
        accelerator(name) for name in ("rtx4090", "RTX 4090", "4090", "NVIDIA GeForce RTX 4090", "rtx-4090")
    }
    assert len(cards) == 1
    assert accelerator("80GB").memory_bytes == 80 * 10**9 and accelerator("80 GiB").memory_bytes == 80 * 2**30
    with pytest.raises(QCourseError, match="0GB of memory holds no model"):
        accelerator("0GB")
    assert "80.00 GB, 74.5 GiB" in str(plan(LLAMA, "H100"))


def test_a_device_without_rates_is_bounded_by_its_memory_alone():
    made = plan(LLAMA, "M2-Ultra")
    assert made.bounds.prefill is None and 1e3 * made.bounds.decode == pytest.approx(19.4, rel=0.01)
    assert "prefill        not known" in str(made)


def test_devices_by_alias_size_and_detection(monkeypatch):
    assert accelerator("a100").memory_bytes == 80 * 10**9
    assert accelerator("24GB").memory_bytes == 24 * 10**9
    card = {"name": "NVIDIA A100-SXM4-40GB", "memory_bytes": 42 * 10**9, "capability": "8.0", "driver": "570"}
    monkeypatch.setattr("qcourse.plan.hardware.gpus", lambda: (card,))
    assert accelerator().bandwidth == 1555e9 and accelerator().memory_bytes == 42 * 10**9
    card |= {"name": "NVIDIA GeForce RTX 4090 Laptop GPU"}
    assert accelerator().bandwidth is None
    card |= {"name": "NVIDIA H100 PCIe"}
    assert accelerator().bandwidth == 2000e9
    monkeypatch.setattr("qcourse.plan.hardware.gpus", lambda: ())
    assert accelerator().is_cpu
    with pytest.raises(QCourseError, match="unknown GPU 'voodoo2'; known are"):
        accelerator("voodoo2")


def test_context_beyond_the_model_is_refused():
    with pytest.raises(QCourseError, match="takes at most 4,096 tokens, not 4,097"):
        plan("meta-llama/Llama-2-7b-hf", "L4", context=4097)
    with pytest.raises(QCourseError, match="at least 1"):
        plan(LLAMA, "L4", batch=0)
