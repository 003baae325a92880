"""Files of AutoGPTQ, AutoAWQ, GPTQModel and llm-compressor: our reader gives their own exact weights."""

import pytest
import torch

from qcourse import export
from qcourse.common import QCourseError
from qcourse.export.tensor_file import load
from qcourse.lanes import peers
from qcourse.pipeline.convert import rewrite
from tests.engines import require

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "library",
    [pytest.param(name, marks=[pytest.mark.engine] * (name in peers.ARCHIVED)) for name in peers.LIBRARIES],
)
def test_our_reader_gives_the_librarys_weights_and_convert_keeps_them(library, peer, tmp_path):
    own = load(peer(library) / "dequantized" / "weights.safetensors")
    layers = export.read_layers(peer(library))
    assert layers.keys() == own.keys() and len(own) == 14
    for name, layer in layers.items():
        assert torch.equal(layer.dequantize().half(), own[name]), name
    converted = export.read_layers(rewrite(peer(library), tmp_path / "made"))
    assert all(torch.equal(converted[name].dequantize(), layers[name].dequantize()) for name in layers)


@pytest.mark.engine
def test_autoawqs_scales_leave_the_function_as_it_was(small_folders, tmp_path):
    """At 8 bits and without clipping (q and k are never clipped) norm x weight must be as before.

    Its own search leaves the first candidate's scale in the weights on a CPU: here they move by a third.
    """
    require("autoawq")
    tokens = torch.randint(5, 512, (4, 64), generator=torch.Generator().manual_seed(0))
    made = load(peers.quantize("autoawq", small_folders["llama_gqa"], tokens, tmp_path / "out", bits=8)
                / "model.safetensors")  # fmt: skip
    before = load(small_folders["llama_gqa"] / "model.safetensors")
    for layer in ("model.layers.0.", "model.layers.1."):
        for name in ("self_attn.q_proj.weight", "self_attn.k_proj.weight"):
            norm = f"{layer}input_layernorm.weight"
            product, wanted = (w[layer + name].float() * w[norm].float() for w in (made, before))
            assert (product - wanted).norm() < 0.02 * wanted.norm(), name


def test_an_older_copy_has_the_older_words():
    from qcourse.lanes.peers.older_format import older_config, older_tokenizer

    config = {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 5.0, "factor": 2.0},
        "dtype": "bfloat16",
    }
    expected = {
        "rope_theta": 5.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "torch_dtype": "bfloat16",
    }
    assert older_config(config) == expected
    assert older_tokenizer({"tokenizer_class": "TokenizersBackend", "backend": "tokenizers"}) == {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }


def test_a_missing_environment_and_a_failing_library_are_told(small_folders, tmp_path, monkeypatch):
    tokens = torch.zeros(1, 8, dtype=torch.long)
    with pytest.raises(QCourseError, match="known are autogptq, autoawq, gptqmodel"):
        peers.quantize("autoround", small_folders["llama_gqa"], tokens, tmp_path / "out")
    monkeypatch.setattr(peers, "repository", lambda: tmp_path)
    with pytest.raises(QCourseError, match="make peers"):
        peers.quantize("autogptq", small_folders["llama_gqa"], tokens, tmp_path / "out")
    python = tmp_path / ".venv-peers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho the reason >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(QCourseError, match=r"autogptq failed \(exit 3\): the reason"):
        peers.quantize("autogptq", small_folders["llama_gqa"], tokens, tmp_path / "out")
    assert not (tmp_path / "out").exists()


PRESETS = {"w8a8-int8": "W8A8", "fp8-dynamic": "FP8_DYNAMIC", "fp8-block": "FP8_BLOCK"}
LARGEST = {torch.int8: 127, torch.float8_e4m3fn: 448}


@pytest.mark.parametrize("name", PRESETS)
def test_llm_compressors_codes_are_ours_but_for_a_quotient_in_bfloat16(name, small_folders, tmp_path):
    """Dividing in the model's dtype gives every code of its; ours divide in float32 and err less."""
    require("llmcompressor", name)
    from qcourse import models
    from qcourse.bench.quality import theirs
    from qcourse.quantize import quantize
    from qcourse.recipe import named

    folder = small_folders["llama_gqa"]
    weights = models.load(folder).model.state_dict()
    ours = quantize(models.load(folder).model, named(name), progress=False).layers
    made = theirs.llm_compressor(folder, torch.zeros(1, 8), tmp_path / "theirs", "rtn", scheme=PRESETS[name])
    errors, differ, count = [0.0, 0.0], 0, 0
    for linear, layer in export.read_layers(made).items():
        mine, weight = ours[linear], weights[f"{linear}.weight"]
        assert torch.equal(layer.scale, mine.scale), linear
        quotient = (weight / layer.per_column(layer.scale).bfloat16()).float()
        rounded = quotient.round() if name == "w8a8-int8" else quotient
        top = LARGEST[layer.codes.dtype]
        low = -128 if name == "w8a8-int8" else -top
        assert torch.equal(rounded.clamp(low, top).to(layer.codes.dtype).float(), layer.codes.float()), linear
        for index, item in enumerate((mine, layer)):
            errors[index] += float((item.dequantize() - weight.float()).square().sum())
        differ += int((mine.codes.float() != layer.codes.float()).sum())
        count += weight.numel()
    print(f"{name}: {differ / count:.1%} of codes differ, squared error {errors[0] / errors[1]:.3f} of its")
    assert 0.005 < differ / count < 0.15 and errors[0] < errors[1]


@pytest.mark.parametrize("scheme", ["W4A16", "W4A16_ASYM", "W8A8", "FP8_DYNAMIC", "NVFP4A16", "MXFP4A16"])
def test_llm_compressor_files_are_read_exactly(scheme, small_folders, tmp_path):
    """The library's own decompression is the reference."""
    require("llmcompressor", scheme)
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    model = AutoModelForCausalLM.from_pretrained(small_folders["llama_gqa"], dtype=torch.bfloat16)
    oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]))
    model.save_pretrained(tmp_path / "checkpoint", save_compressed=True)
    layers = export.read_layers(tmp_path / "checkpoint")
    dense = AutoModelForCausalLM.from_pretrained(
        tmp_path / "checkpoint",
        dtype=torch.float32,
        quantization_config=CompressedTensorsConfig(dequantize=True),
    )
    assert len(layers) == 14
    rtol = 2**-7 if "FP4" in scheme else 1e-6  # the library unpacks FP4 in bfloat16, whatever it is asked
    for name, layer in layers.items():
        weight = dense.get_submodule(name).weight.float()
        torch.testing.assert_close(layer.dequantize(), weight, rtol=rtol, atol=0)
