"""Mixed precision: fused linears share a width, the budget holds, and the mix beats one width for all."""

from dataclasses import replace

import pytest
import torch

from qcourse import measure, models
from qcourse.common import QCourseError
from qcourse.quantize import mixed_recipe, quantize, sensitivities
from qcourse.recipe import Recipe, named
from tests.quantize.test_quantize import divergence


@pytest.fixture(scope="module")
def uneven(small_folders):
    """Return a function to a small model whose first layer carries more than its second."""
    from transformers import AutoModelForCausalLM

    def load() -> torch.nn.Module:
        model = AutoModelForCausalLM.from_pretrained(small_folders["llama_gqa"], dtype=torch.float32).eval()
        with torch.no_grad():
            for name in ("self_attn.o_proj", "mlp.down_proj"):
                model.model.layers[1].get_submodule(name).weight.mul_(0.25)
        return model

    return load


@pytest.fixture(scope="module")
def measured(uneven):
    tokens = torch.randint(0, 512, (4, 64), generator=torch.Generator().manual_seed(7))
    return sensitivities(uneven(), named("rtn-w4g64"), tokens, progress=False)


def test_every_linear_is_measured_once_in_the_parts_that_engines_fuse(uneven, measured):
    names = [name for part in measured for name in part.names]
    assert sorted(names) == sorted(models.linears(uneven())) and len(measured) == 8
    assert {len(part.names) for part in measured} == {1, 2, 3}
    for part in measured:
        assert part.kl[2] > part.kl[3] > part.kl[4] > part.kl[8] > 0
        assert part.stored == {bits: part.weights * (bits + 0.25) for bits in (2, 3, 4, 8)}


def test_the_model_is_left_as_it_was(uneven, small_tokens):
    model, before = uneven(), uneven().state_dict()
    sensitivities(model, named("gptq-w4g64"), small_tokens[:2], widths=(2, 4), progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("uniform", [3, 4])
def test_the_mix_beats_one_width_at_the_same_bits_on_other_tokens(uneven, measured, uniform):
    base = named(f"rtn-w{uniform}g64")
    budget = uniform + 0.25
    chosen = mixed_recipe(base, measured, budget)
    assert chosen.overrides and chosen != base
    tokens = torch.randint(0, 512, (8, 64), generator=torch.Generator().manual_seed(99))
    results = [quantize(uneven(), recipe, progress=False) for recipe in (base, chosen)]
    assert results[1].bits_per_quantized_weight() <= results[0].bits_per_quantized_weight() == budget
    one, mix = (divergence(uneven(), result.model, tokens) for result in results)
    assert mix < 0.95 * one
    for layer in range(2):
        for names in (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                      ("mlp.gate_proj", "mlp.up_proj")):  # fmt: skip
            assert len({chosen.for_layer(f"model.layers.{layer}.{name}").bits for name in names}) == 1


def mirrored(measured):
    """Return the parts with the sensitivities of the least and the most sensitive exchanged, and so on."""
    order = sorted(measured, key=lambda part: part.kl[3] / part.weights)
    return [
        replace(part, kl={bits: kl * part.weights / other.weights for bits, kl in other.kl.items()})
        for part, other in zip(order, order[::-1], strict=True)
    ]


@pytest.mark.slow
def test_on_pico_the_mix_beats_one_width_and_the_reverse_mix_beyond_chance():
    """One window to measure on, 8 to judge by: 0.78 [0.76, 0.80] of one width's KL, 0.33 of the reverse's."""
    from qcourse.pipeline import calibration_tokens

    base, recipe, kl = models.load("pico"), named("rtn-w3g128"), {}
    evaluation = measure.evaluation_tokens(base.tokenizer, 8, 512)
    tokens = calibration_tokens(base.tokenizer, 1)
    parts = sensitivities(models.load("pico").model, recipe, tokens, widths=(2, 3, 4), progress=False)
    recipes = {"one": recipe, "mix": mixed_recipe(recipe, parts, 3.125),
               "reverse": mixed_recipe(recipe, mirrored(parts), 3.125)}  # fmt: skip
    for name, chosen in recipes.items():
        made = quantize(models.load("pico").model, chosen, progress=False)
        assert made.bits_per_quantized_weight() <= 3.125
        kl[name] = measure.divergence(base.model, made.model, evaluation).kl_per_sequence
    for other, highest in (("one", 0.95), ("reverse", 0.6)):
        ratio = measure.paired_bootstrap(kl["mix"], kl[other], "ratio")
        print(f"KL of the mix / {other}: {ratio}")
        assert ratio.high < highest


def test_overrides_of_the_recipe_are_kept(measured):
    changes = {"*.layers.1.mlp.*": {"bits": 8, "symmetric": False}}
    base = Recipe("rtn", bits=4, group_size=64, overrides=changes)
    chosen = mixed_recipe(base, measured, 3.5)
    assert chosen.overrides["*.layers.1.mlp.*"] == {"symmetric": False}
    assert chosen.for_layer("model.layers.1.mlp.up_proj").symmetric is False


def test_a_budget_or_a_recipe_that_cannot_be_is_told(uneven, measured, small_tokens):
    with pytest.raises(QCourseError, match="2.0 bits a weight is below the least, 2.25 with scales"):
        mixed_recipe(named("rtn-w4g64"), measured, 2.0)
    with pytest.raises(QCourseError, match="nf4 has one width"):
        sensitivities(uneven(), named("nf4"), small_tokens, progress=False)
