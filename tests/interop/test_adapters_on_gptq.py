"""peft's LoRA on our GPTQ file as transformers and GPTQModel load it: the gradients of our own base."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from qcourse import export, finetune
from qcourse.common import QCourseError
from qcourse.quantize import quantize
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
