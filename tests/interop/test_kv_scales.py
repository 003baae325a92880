"""FP8 KV caches with calibrated scales: our file in vLLM and transformers, and llm-compressor's scales.

vLLM 0.32's CPU kernel cuts the mantissa of a key or value off instead of rounding it: 19 becomes 18, and the
KL on pico 0.023 instead of 0.017. The reference does the same here, as it does elsewhere for other kernels.
"""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from qcourse import export, serve
from qcourse.calibrate import kv_ranges
from qcourse.common import QCourseError, data_folder, repository
from qcourse.measure import divergence
from qcourse.models.kv_states import changed_keys_values
from qcourse.quantize import quantized_kv_cache
from qcourse.serve.vllm_install import find_vllm
from tests.engines import require, require_avx512
from tests.interop.judge import load_in_transformers

ONE = (torch.ones(1), torch.ones(1))


def cut_off(states: Tensor, scale: Tensor) -> Tensor:
    """Quantize to E4M3 by dropping bits, as vLLM's CPU kernel does: times 1 / scale, clamped, 3 bits kept.

    2**-120 moves the exponent to E4M3's place, so that its small numbers too are cut where they should be.
    """
    codes = (states.float() * (1 / scale)).clamp(-448, 448) * 2.0**-120
    kept = (codes.view(torch.int32) & ~0xFFFFF).view(torch.float32) * 2.0**120
    return (kept * scale).to(states.dtype)


def cut_off_logits(model, judge, scales: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the judge's logits of a model on a cache as vLLM's CPU kernel writes it."""

    def change(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return cut_off(key, scales[layer][0]), cut_off(value, scales[layer][1])

    with changed_keys_values(model, change):
        return judge.logits(model)


def require_cpu_build(lane: str) -> None:
    """Skip without vLLM, and where it is built for a GPU, whose kernels round in their own way."""
    require("vllm", lane)
    if not find_vllm().cpu:
        pytest.skip("the arithmetic judged here is that of vLLM's CPU kernels")


@pytest.fixture
def unquantized(source, calibration, tmp_path):
    """Return pico in float32, its ranges, and a folder of it with only its KV cache quantized."""
    model = load_in_transformers(source)
    ranges = kv_ranges(model, calibration)
    folder = shutil.copytree(source, tmp_path / "pico")
    return model, ranges, export.add_kv_scales(folder, ranges)


def test_cutting_off_is_what_the_kernel_was_seen_to_do():
    """Eight numbers that vLLM 0.32's cpu_attn_reshape_and_cache was given, and what its cache then held."""
    given = torch.tensor([17.0, 19.0, -21.0, 432.0, 449.0, 0.001, 0.0029, 300.0])
    held = [16.0, 18.0, -20.0, 416.0, 448.0, 0.0, 2.0**-9, 288.0]
    assert cut_off(given, torch.ones(1)).tolist() == held


@pytest.mark.slow
def test_vllm_applies_the_scales_of_an_unquantized_model(unquantized, judge):
    """In float32, where nothing but the cache differs from the reference."""
    require_cpu_build("fp8 kv cache")
    require_avx512("kernels of an FP8 KV cache", "fp8 kv cache")
    model, ranges, folder = unquantized
    wanted = cut_off_logits(model, judge, export.read_kv_scales(folder))
    uncalibrated = cut_off_logits(model, judge, [ONE] * len(ranges))
    with serve.vllm(folder, "fp8", max_model_len=512, dtype="float32", progress=False) as server:
        engine = server.logits(judge.tokens)
    assert judge.verdict(wanted, engine).passed
    assert not judge.verdict(uncalibrated, engine).passed


@pytest.mark.slow
def test_vllm_takes_the_fp8_cache_that_a_quantized_file_asks_for(artefact, judge, calibration, tmp_path):
    """With kv_cache_dtype "auto": the file's scheme alone switches it on. In bf16, as it is served."""
    require_cpu_build("w4a16 with fp8 kv cache")
    require_avx512("4-bit weights and kernels of an FP8 KV cache", "w4a16 with fp8 kv cache")
    model = artefact("w4a16").reference()
    ranges = kv_ranges(model, calibration)
    folder = shutil.copytree(artefact("w4a16").folder, tmp_path / "w4a16")
    export.add_kv_scales(folder, ranges)
    plain = judge.logits(model)
    wanted = cut_off_logits(model, judge, export.read_kv_scales(folder))
    uncalibrated = cut_off_logits(model, judge, [ONE] * len(ranges))
    with serve.vllm(folder, "auto", max_model_len=512, progress=False) as server:
        engine = server.logits(judge.tokens)
    kl = [divergence(logits, engine).kl_mean for logits in (wanted, plain, uncalibrated)]
    print("KL to calibrated, exact, uncalibrated:", kl)
    assert kl[0] < 0.6 * min(kl[1:])


@pytest.mark.slow
def test_an_int8_cache_is_nonsense_on_the_cpu(source, judge, monkeypatch):
    """The engine starts, reports the cache it was asked for, and answers; so we refuse it."""
    require_cpu_build("int8 kv cache")
    with pytest.raises(QCourseError, match="a KV cache in int8_per_token_head and computes nonsense"):
        with serve.vllm(source, "int8_per_token_head"):
            pass
    require_avx512("kernels of an int8 KV cache", "int8 kv cache")  # without it vLLM refuses to start
    monkeypatch.setattr("qcourse.serve.vllm_install.CPU_KV_CACHES", ("int8_per_token_head",))
    model = load_in_transformers(source)
    with quantized_kv_cache(model, "int8", "token"):
        wanted = judge.logits(model)
    with serve.vllm(
        source, "int8_per_token_head", max_model_len=512, dtype="float32", progress=False
    ) as server:
        engine = server.logits(judge.tokens)
    assert judge.verdict(judge.unquantized, wanted).engine < 0.02
    assert judge.verdict(wanted, engine).engine > 1


@pytest.mark.slow
def test_transformers_runs_the_cache_as_we_simulate_it(unquantized, judge):
    """compressed-tensors rounds keys and values to nearest before each attention: so do we."""
    require("compressed-tensors", "fp8 kv cache")
    require("transformers", "fp8 kv cache")
    model, ranges, folder = unquantized
    with quantized_kv_cache(model, scales=ranges):
        wanted = judge.logits(model)
    with quantized_kv_cache(model, scales=1.0):
        uncalibrated = judge.logits(model)
    engine = judge.logits(load_in_transformers(folder))
    assert judge.verdict(wanted, engine).passed
    assert not judge.verdict(uncalibrated, engine).passed


@pytest.mark.slow
def test_scales_are_those_of_llm_compressor(small_folders, small_tokens, tmp_path):
    """With its observer of the largest magnitude; by default it averages over batches instead."""
    require("llmcompressor", "fp8 kv cache")
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    model = load_in_transformers(small_folders["llama_gqa"], torch.bfloat16)
    folder = Path(shutil.copytree(small_folders["llama_gqa"], tmp_path / "ours"))
    model.set_attn_implementation("eager")
    ranges = kv_ranges(model, small_tokens)
    export.add_kv_scales(folder, ranges)
    rows = {"input_ids": small_tokens.tolist(), "attention_mask": torch.ones_like(small_tokens).tolist()}
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
    modifier = QuantizationModifier(
        targets=[], kv_cache_scheme=scheme | {"observer": "static_minmax"}, ignore=["lm_head"]
    )
    oneshot(model=model, dataset=Dataset.from_dict(rows), recipe=modifier, num_calibration_samples=8)
    model.save_pretrained(tmp_path / "theirs", save_compressed=True)
    ours, theirs = (torch.tensor(export.read_kv_scales(place)) for place in (folder, tmp_path / "theirs"))
    assert ours.shape == theirs.shape == (2, 2)
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=0)
    config = export.quantization_config(tmp_path / "theirs")
    mine = export.quantization_config(folder)
    for key in ("quant_method", "format", "quantization_status", "config_groups", "ignore"):
        assert mine[key] == config[key], key
    same = {"num_bits", "type", "strategy", "symmetric", "dynamic"}
    assert all(mine["kv_cache_scheme"][key] == config["kv_cache_scheme"][key] for key in same)


def test_the_tables_rows_of_caches_have_their_evidence():
    rows = yaml.safe_load((data_folder() / "compatibility.yaml").read_text())["kv_cache"]
    tests = [re.search(r"(tests/\S+\.py)::(\w+)", row["evidence"]) for row in rows]
    assert all(found or row["loads"] == "no" for found, row in zip(tests, rows, strict=True))
    for found in filter(None, tests):
        assert f"def {found[2]}(" in (repository() / found[1]).read_text(), found[0]


def test_the_tables_words_of_caches_are_vllms():
    require("vllm")
    rows = yaml.safe_load((data_folder() / "compatibility.yaml").read_text())["kv_cache"]
    said = [found[1] for row in rows if (found := re.search('"(.+?)"', row["evidence"]))]
    place = "lib/python*/site-packages/vllm/model_executor/layers/quantization/compressed_tensors"
    folder = next(find_vllm().python.parents[1].glob(place))
    source = re.sub(r'"\s*f?"', "", (folder / "compressed_tensors.py").read_text())
    assert len(said) == 2 and all(words in source for words in said)
