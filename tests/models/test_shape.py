"""Shapes: published parameter counts, KV caches by hand, and what is refused by name."""

import pytest
import yaml

from qcourse.common import QCourseError, data_folder
from qcourse.models import shape

ROWS = yaml.safe_load((data_folder() / "models.yaml").read_text())
KIB = 1024


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_parameters_are_within_one_percent_of_the_published_count(row):
    assert shape(row["name"]).total_parameters == pytest.approx(row["published"], rel=0.01)
    assert row["grade"] in ("documentation", "secondary") and row["source"].startswith("https://")


def test_the_table_is_long_enough_and_names_each_model_once():
    names = [row["name"] for row in ROWS]
    assert len(names) == len(set(names)) >= 45


@pytest.mark.parametrize(("model", "context", "values"), [
    ("meta-llama/Llama-3.1-8B", 4096, 32 * 2 * 8 * 128 * 4096),
    ("deepseek-ai/DeepSeek-V3", 4096, 61 * (512 + 64) * 4096),
    ("google/gemma-3-27b-it", 8192, 2 * 16 * 128 * (10 * 8192 + 52 * 1024)),
    ("openai/gpt-oss-20b", 8192, 2 * 8 * 64 * (12 * 8192 + 12 * 128)),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", 8192, 12 * 2 * 2 * 256 * 8192),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 32768, 2 * 8 * 128 * (12 * 32768 + 36 * 8192)),
    ("google/gemma-2-9b", 8192, 2 * 8 * 256 * (21 * 8192 + 21 * 4096)),
])  # fmt: skip
def test_kv_cache_by_hand(model, context, values):
    assert shape(model).kv_values(context) == values


def test_kv_cache_a_token():
    assert 2 * shape("deepseek-ai/DeepSeek-V3").kv_values_per_token == 68.625 * KIB
    hybrid = shape("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert 2 * hybrid.kv_values_per_token == 24 * KIB
    assert hybrid.state_values == 36 * (32 * 128 * 128 + (2 * 16 * 128 + 32 * 128) * 3)


@pytest.mark.parametrize(("model", "billions"), [
    ("mistralai/Mixtral-8x7B-v0.1", 12.75), ("Qwen/Qwen3-30B-A3B", 3.04), ("deepseek-ai/DeepSeek-V3", 36.6),
    ("openai/gpt-oss-20b", 3.6), ("moonshotai/Kimi-K2-Instruct", 31.7), ("meta-llama/Llama-3.1-8B", 7.505),
])  # fmt: skip
def test_active_parameters_leave_out_idle_experts_and_the_input_embedding(model, billions):
    assert shape(model).active_parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_what_is_not_understood_is_refused_by_name():
    row = dict(next(row for row in ROWS if row["name"] == "Qwen/Qwen3-8B"))
    with pytest.raises(QCourseError, match="model type 'mamba9' .* known are .*deepseek_v3"):
        shape({**row, "model_type": "mamba9"})
    with pytest.raises(QCourseError, match="layer_types has 36 entries .*conv"):
        shape({**row, "layer_types": ["conv"] * 36})
    with pytest.raises(QCourseError, match="has kv_lora_rank"):
        shape({**row, "kv_lora_rank": 512})
    with pytest.raises(QCourseError, match="has n_routed_experts"):
        shape({**row, "n_routed_experts": 64})
    del row["hidden_size"]
    with pytest.raises(QCourseError, match="has no 'hidden_size'"):
        shape(row)


def test_a_nested_text_config_is_the_language_model():
    row = next(row for row in ROWS if row["name"] == "google/gemma-3-27b-it")
    assert shape(row).layers == 62 and shape(row["text_config"]).hidden == 5376
