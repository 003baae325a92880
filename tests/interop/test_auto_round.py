"""AutoRound's own files: our reader against the library that wrote them, layout by layout."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qcourse import export
from qcourse.common import QCourseError
from tests.engines import require
from tests.interop.judge import load_in_transformers

CASES = {
    "4 bits": {"scheme": "W4A16"},
    "4 bits asymmetric": {"scheme": "W4A16", "sym": False},
    "2 bits asymmetric": {"scheme": "W2A16", "sym": False},
    "3 bits": {"scheme": "W3A16"},
    "8 beside 4 bits": {"scheme": "W4A16", "layer_config": {"model.layers.0.self_attn.q_proj": {"bits": 8}}},
}


def made(model: Path, place: Path, settings: dict) -> Path:
    """Let AutoRound round a model plainly and write it in its own format."""
    from auto_round import AutoRound

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model)
    options = {"iters": 0, "disable_opt_rtn": True, "device_map": "cpu", "group_size": 64}
    AutoRound(base, tokenizer, **options, **settings).quantize_and_save(str(place), format="auto_round")
    return next(place.rglob("config.json")).parent


def read(folder: Path, model: Path) -> torch.nn.Module:
    """Return the model with the weights that our reader finds."""
    mine = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    mine.load_state_dict(export.read(folder), strict=False)
    return mine


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_we_read_what_auto_round_reads(case, peer_judge, tmp_path):
    require("llmcompressor", f"auto-round {case}")  # it brings AutoRound with it
    folder = made(peer_judge.folder, tmp_path, CASES[case])
    theirs = peer_judge.logits(load_in_transformers(folder, torch.float32))
    ours = peer_judge.logits(read(folder, peer_judge.folder))
    verdict = peer_judge.verdict(ours, theirs)
    assert verdict.passed and verdict.quantized > 1e-6
    widths = {layer.bits for layer in export.read_layers(folder).values()}
    assert widths == {8, 4} if "beside" in case else len(widths) == 1
    assert export.misread_by_transformers(folder)  # it would compute in float16


@pytest.mark.parametrize(
    "change", [{"packing_format": "auto_round:mlx"}, {"data_type": "mx_fp"}, {"act_bits": 8}]
)
def test_layouts_that_are_not_read_are_named(change, tmp_path):
    settings = {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": True, "data_type": "int"}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings | change}))
    with pytest.raises(QCourseError, match="AutoRound checkpoint holds"):
        export.read(tmp_path)
