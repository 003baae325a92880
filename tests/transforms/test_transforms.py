"""Every transform leaves the function unchanged (fp32 logits within 1e-4), and does what it is for."""

import pytest
import torch

from qcourse.calibrate import walk
from qcourse.common import QCourseError
from qcourse.numerics.affine import fake_quantize, quantize_affine
from qcourse.quantize.checks import check_recipe
from qcourse.recipe import Recipe, named
from qcourse.transforms import awq, fold, links, outliers, rotation, smoothquant
from qcourse.transforms.clip import clip
from qcourse.transforms.fold import exact_scale, pool_query_heads, shared_scale
from qcourse.transforms.rotation import rotation_matrix

AFTER = ("gemma2", "gemma3", "glm4", "olmo2")  # norms after attention and MLP
CENTRED = ("stablelm", "starcoder2")  # LayerNorm
MODELS = ["llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width", "phi3", "gemma2", "gemma3", "smollm3",
          "granite", "olmo2", "glm4", "stablelm", "starcoder2"]  # fmt: skip


@torch.no_grad()
def apply(kind: str, model: torch.nn.Module, tokens: torch.Tensor) -> None:
    """Carry out one transform on a whole model."""
    if kind == "rotation":
        rotation.rotate(model)
    elif kind == "outliers":
        outliers.plant(model)
    else:
        for step in walk(model, tokens):
            statistics = step.collect()
            if kind == "awq":
                awq.transform(
                    step.layer, statistics, dict.fromkeys(step.linears(), Recipe("rtn", group_size=-1))
                )
            else:
                smoothquant.transform(step.layer, statistics)


@pytest.mark.parametrize(("kind", "name"), [
    (kind, name) for kind in ("awq", "smoothquant", "rotation", "outliers") for name in MODELS
    if not (kind == "rotation" and name in AFTER + CENTRED or name == "olmo2" and kind != "awq")  # refused
])  # fmt: skip
def test_logits_are_equal_before_and_after(small_folders, small_model, small_tokens, name, kind):
    model = small_model(small_folders[name])
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(small_tokens).logits
        apply(kind, model, small_tokens)
        after = model(small_tokens).logits
    assert (after - before).abs().max() < 1e-4 * before.abs().max().clamp(min=1)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, weights[key])]
    assert any("q_proj" in key or "qkv_proj" in key for key in changed) or name == "olmo2"
    assert len(changed) >= (8 if name in ("phi3", "olmo2", "starcoder2") else 12)


def test_what_has_no_norm_to_fold_into_is_refused(small_folders, small_model):
    for name in AFTER:
        with pytest.raises(QCourseError, match="rotation does not pass the norms after attention and MLP of"):
            rotation.rotate(small_model(small_folders[name]))
    for name in CENTRED:
        with pytest.raises(QCourseError, match=f"rotation does not pass the LayerNorm of {name}"):
            rotation.rotate(small_model(small_folders[name]))
    model = small_model(small_folders["olmo2"])
    with pytest.raises(ValueError, match="olmo2 has no norm before attention"):
        outliers.plant(model)
    with pytest.raises(QCourseError, match="into the norms before attention and MLP, and olmo2 has none"):
        check_recipe(model, named("smoothquant+w8a8-int8"))


def test_outliers_are_exact_in_bfloat16_and_really_there(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa, torch.bfloat16)
    before = model(small_tokens).logits
    plain = next(iter(walk(model, small_tokens))).collect(gram=False)[0].absmax
    channels = outliers.plant(model, channels=3, factor=32)
    assert torch.equal(model(small_tokens).logits, before)
    planted = next(iter(walk(model, small_tokens))).collect(gram=False)[0].absmax
    assert torch.equal(planted[channels], plain[channels] * 32)
    with pytest.raises(ValueError, match="no power of two"):
        outliers.plant(model, factor=30)
    with pytest.raises(ValueError, match="cannot be planted"):
        outliers.plant(model, channels=999)


def test_smoothquant_finds_planted_outliers_back(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    outliers.plant(model, factor=64)
    step = next(iter(walk(model, small_tokens)))
    record = smoothquant.transform(step.layer, step.collect(gram=False), alpha=0.5)
    before, after = record["input_layernorm"]["absmax_before"], record["input_layernorm"]["absmax_after"]
    assert after < before / 4
    again = step.collect(gram=False)[0].absmax.max()
    assert float(again) == pytest.approx(after, rel=1e-4)  # the statistics were rescaled, not collected again


def test_awq_lowers_the_rounding_error_and_rescales_statistics_exactly(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    step = next(iter(walk(model, small_tokens)))
    statistics = step.collect()
    record = awq.transform(step.layer, statistics, dict.fromkeys(step.linears(), Recipe("rtn", bits=3)))
    assert all(item["error_ratio"] <= 1 for item in record.values())
    assert record["input_layernorm"]["error_ratio"] < 0.95
    for kept, again in zip(statistics, step.collect(), strict=True):
        assert kept.names == again.names
        assert torch.allclose(
            kept.hessian, again.hessian, rtol=0.02, atol=0.02 * float(again.hessian.abs().max())
        )


def test_awq_skips_linears_that_stay_as_they_are(small_model, llama_gqa, small_tokens):
    step = next(iter(walk(small_model(llama_gqa), small_tokens)))
    weight = step.layer.mlp.down_proj.weight.clone()
    grids = dict.fromkeys(step.linears(), Recipe("rtn")) | {"mlp.down_proj": None}
    record = awq.transform(step.layer, step.collect(), grids)
    assert "skipped" in record["mlp.up_proj"] and torch.equal(step.layer.mlp.down_proj.weight, weight)


def test_grouped_heads_share_one_scale(small_model, llama_gqa):
    layer = small_model(llama_gqa).model.layers[0]
    link = links(layer)[1]
    assert (link.producer, link.repeat, link.head_dim) == ("self_attn.v_proj", 2, 64)
    pooled = pool_query_heads(torch.rand(256), link)
    heads = pooled.reshape(2, 2, 64)
    assert torch.equal(heads[:, 0], heads[:, 1]) and shared_scale(pooled, link).shape == (128,)
    fold(layer, link, pooled)


def test_a_16_bit_bias_is_rounded_once(small_folders, small_model):
    layer = small_model(small_folders["qwen2"], torch.bfloat16).model.layers[0]
    link, width = links(layer)[1], layer.self_attn.o_proj.in_features
    torch.nn.init.normal_(layer.self_attn.v_proj.bias)
    before = layer.self_attn.v_proj.bias.detach().clone()
    rows = shared_scale(fold(layer, link, pool_query_heads(torch.rand(width) + 0.5, link)), link)
    assert torch.equal(layer.self_attn.v_proj.bias, (before.float() / rows).bfloat16())


def test_scale_is_moved_to_what_a_16_bit_norm_holds():
    norm = (1 + torch.rand(256)).to(torch.bfloat16)
    wanted = torch.exp(torch.randn(256))
    scale = exact_scale(norm, wanted)
    quotient = norm.float() / scale
    assert torch.allclose(quotient, quotient.to(torch.bfloat16).float(), rtol=1e-6)
    assert ((scale / wanted - 1).abs() < 2**-8).all()


def test_clip_lowers_the_output_error():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 128, generator=generator)
    weight[:, 5] *= 5
    inputs = torch.randn(512, 128, generator=generator)
    inputs[:, 5] *= 0.01  # the large weights meet small inputs
    hessian = inputs.T @ inputs / 512
    from qcourse.numerics import quantize_affine

    def error(rounded):
        change = quantize_affine(rounded, 3, 64, False).dequantize() - weight
        return float(((change @ hessian) * change).sum())

    assert error(clip(weight, hessian, 3, 64, False)) < 0.8 * error(weight)


@pytest.mark.parametrize("size", [2, 64, 172, 512])
def test_rotation_matrix_is_orthogonal(size):
    matrix = rotation_matrix(size)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12)
    if size & (size - 1) == 0:
        assert torch.allclose(matrix.abs(), torch.full_like(matrix, size**-0.5))


def test_rotation_spreads_planted_outliers(small_model, llama_tied, small_tokens):
    model = small_model(llama_tied)
    outliers.plant(model, factor=64)
    spiky = next(iter(walk(model, small_tokens))).collect(gram=False)[0]
    rotation.rotate(model)
    flat = next(iter(walk(model, small_tokens))).collect(gram=False)[0]
    assert flat.absmax.max() / flat.mean_abs.mean() < 0.3 * spiky.absmax.max() / spiky.mean_abs.mean()
    assert not model.config.tie_word_embeddings


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_dead_columns_move_no_scale_and_cost_nothing(symmetric, dtype, small_model, llama_gqa, small_tokens):
    """A column that is always zero, a norm weight of 0, negative ones, and columns that no weight reads."""
    model = small_model(llama_gqa, dtype)
    layer, recipe = model.model.layers[0], Recipe("rtn", bits=4, group_size=64, symmetric=symmetric)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 9] = 0
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight[3] = 0
            norm.weight[64:128] *= -1
        for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            linear.weight[:, 7] = 0
        layer.mlp.up_proj.weight[5] = 0
    step = next(iter(walk(model, small_tokens)))
    statistics = step.collect()
    plain = {name: module.weight.detach().float().clone() for name, module in step.linears().items()}
    grams = {name: item.hessian.float().clone() for item in statistics for name in item.names}
    record = awq.transform(step.layer, statistics, dict.fromkeys(step.linears(), recipe))
    after = {name: item.hessian.float() for item in statistics for name in item.names}

    def error(weights, gram):
        return sum(float(((d := fake_quantize(w, 4, 64, symmetric) - w) @ gram[name] * d).sum())
                   for name, w in weights.items())  # fmt: skip

    for link in links(step.layer):
        names, found = link.consumers, record[link.producer]
        now = {name: step.linears()[name].weight.detach().float() for name in names}
        before = error({name: plain[name] for name in names}, grams)
        assert found["error_ratio"] <= 1
        assert error(now, after) <= before * (1.001 if dtype == torch.float32 else 1.05)
        for name in names:
            scales = quantize_affine(now[name], 4, 64, symmetric).scale
            assert scales[scales > 0].min() > 2**-14  # the smallest normal number of fp16
    for norm in (step.layer.input_layernorm, step.layer.post_attention_layernorm):
        assert norm.weight.abs().max() < 64 and norm.weight[3] == 0
