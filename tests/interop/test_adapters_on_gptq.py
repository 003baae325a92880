"""peft's LoRA on our GPTQ file as transformers and GPTQModel load it: the gradients of our own base."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from qcourse import export, finetune
from qcourse.common import QCourseError
from qcourse.measure import divergence
from qcourse.quantize import quantize, reference
from qcourse.recipe import named
from tests.engines import require
from tests.interop.judge import load_in_transformers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(5, 512, (4, 64), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def made(llama_gqa, tokens, tmp_path_factory):
    """Return our GPTQ checkpoint, and our own frozen base with the same codes and adapters."""
    require("gptqmodel", "gptq adapters")
    model = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16)
    done = quantize(model, named("gptq-w4g128"), tokens, progress=False)
    folder = tmp_path_factory.mktemp("adapters") / "gptq"
    export.save(done.layers, done.model, None, folder, "gptq", done.recipe)
    base = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.float32)
    return folder, with_adapters(finetune.freeze(base, done.layers))


def with_adapters(base):
    """Return the base with adapters of rank 4 whose B is not zero, the same for every base."""
    adapted = finetune.add_adapters(base, rank=4, alpha=8)
    for number, name in enumerate(sorted(finetune.deltas(adapted))):
        generator = torch.Generator().manual_seed(number)
        layer = adapted.base_model.model.get_submodule(name)
        for part in (layer.lora_A, layer.lora_B):
            torch.nn.init.normal_(part["default"].weight, std=0.05, generator=generator)
    return adapted


def gradients(adapted, tokens):
    """Return the gradient of each adapter matrix for one batch, by name."""
    adapted.train()(input_ids=tokens, labels=tokens).loss.backward()
    return {name: value.grad for name, value in adapted.named_parameters() if value.requires_grad}


def test_gradients_are_those_of_our_own_base(made, tokens, tmp_path):
    folder, ours = made
    engine = with_adapters(load_in_transformers(folder))
    with torch.no_grad():  # looking first must not cost the gradients
        before = engine(input_ids=tokens).logits
    found, wanted = gradients(engine, tokens), gradients(ours, tokens)
    assert found.keys() == wanted.keys() and len(found) == 28
    for name, value in wanted.items():
        assert value.norm() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max()))
    again = finetune.load_adapter(load_in_transformers(folder), finetune.save_adapter(engine, tmp_path / "a"))
    with torch.no_grad():  # this one repacks for inference, in bfloat16
        torch.testing.assert_close(again(input_ids=tokens).logits, before, rtol=0.05, atol=0.2)


def test_a_base_that_has_run_inference_is_refused(made, tokens):
    engine = load_in_transformers(made[0])
    with torch.no_grad():
        engine(input_ids=tokens)
    with pytest.raises(QCourseError, match="has run inference and passes no gradients"):
        finetune.add_adapters(engine)


def test_the_unmerged_adapter_computes_what_the_merged_artefact_does(made, llama_gqa, tokens, tmp_path):
    """Quantized base with the adapter beside it, and both as one dense folder; merged and rounded again is
    another model. The controls: the base alone, and the adapter merged into weights it was not trained on."""
    folder, _ = made
    engine = with_adapters(load_in_transformers(folder))
    change, weights = finetune.deltas(engine), {name: layer.dequantize() for name, layer in
                                                export.read_layers(folder).items()}  # fmt: skip
    dense = lambda: AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16)  # noqa: E731
    merged = finetune.merge(dense(), change, weights)
    place = export.save({}, merged, None, tmp_path / "merged", "merged", named("bf16"))
    again = quantize(finetune.merge(dense(), change, weights), named("gptq-w4g128"), tokens, progress=False)
    with torch.no_grad():
        found = engine(input_ids=tokens).logits
        others = {
            "merged": AutoModelForCausalLM.from_pretrained(place)(input_ids=tokens).logits,
            "rounded again": reference(again)(input_ids=tokens).logits,
            "merged elsewhere": finetune.merge(dense(), change)(input_ids=tokens).logits,
            "base": finetune.merge(dense(), {}, weights)(input_ids=tokens).logits,
        }
    kl = {name: divergence(found, logits).kl_mean for name, logits in others.items()}
    print(kl)
    assert kl["merged"] < 0.05 * min(kl["rounded again"], kl["merged elsewhere"], kl["base"])
