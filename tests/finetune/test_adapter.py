"""Adapters on disk: what peft writes is what we read, and the other way round."""

import json

import pytest
import torch

from qcourse.common import QCourseError
from qcourse.finetune import add_adapters, deltas, load_adapter, quantize_base, read_adapter, save_adapter
from tests.finetune.tiny_llama import tiny_llama


@pytest.fixture(scope="module")
def adapted():
    """Return an adapted model whose B matrices are not zero."""
    model = add_adapters(quantize_base(tiny_llama(), "own"), rank=4, alpha=12)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def test_read_gives_what_was_trained(adapted, tmp_path):
    folder = save_adapter(adapted, tmp_path / "adapter")
    assert {file.name for file in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    found, wanted = read_adapter(folder), deltas(adapted)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-6, atol=1e-8)


def test_loaded_beside_a_base_it_computes_the_same(adapted, tmp_path):
    folder, ids = save_adapter(adapted, tmp_path / "adapter"), torch.arange(20)[None]
    again = load_adapter(quantize_base(tiny_llama(), "own"), folder)
    assert torch.equal(again(input_ids=ids).logits, adapted(input_ids=ids).logits)
    assert not torch.equal(again(input_ids=ids).logits, tiny_llama()(input_ids=ids).logits)


def test_no_place_of_this_machine_is_written(adapted, tmp_path):
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path)
    settings = json.loads((save_adapter(adapted, tmp_path / "adapter") / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "" and settings["r"] == 4


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(QCourseError, match="no LoRA adapter"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 8}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(QCourseError, match="no LoRA adapter"):
        read_adapter(tmp_path)
