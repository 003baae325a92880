"""A model on a quantized KV cache against the same rounding done by hand, and what calibration buys."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from qcourse.calibrate import kv_ranges
from qcourse.common import QCourseError
from qcourse.measure import HFSource, divergence
from qcourse.numerics.kv import fake_quantize_kv_fp8, fake_quantize_kv_int, kv_scale
from qcourse.quantize import quantized_kv_cache

ROUNDED = {
    "fp8, absmax of the forward": (dict(), lambda k, v: (fake_quantize_kv_fp8(k), fake_quantize_kv_fp8(v))),
    "fp8, scale 1": (
        dict(scales=1.0),
        lambda k, v: (fake_quantize_kv_fp8(k, scale=1.0), fake_quantize_kv_fp8(v, scale=1.0)),
    ),
    "int8 a token": (
        dict(dtype="int8", granularity="token"),
        lambda k, v: (fake_quantize_kv_int(k, "token"), fake_quantize_kv_int(v, "token")),
    ),
    "int8, keys a channel, values a token": (
        dict(dtype="int8", granularity=("channel", "token")),
        lambda k, v: (fake_quantize_kv_int(k, "channel"), fake_quantize_kv_int(v, "token")),
    ),
}
"""How the cache is asked for -> the same done by hand."""


def rounding_cache(change):
    """Return a cache of transformers whose new keys and values go through `change` before they are stored."""
    from transformers import DynamicCache

    class RoundingCache(DynamicCache):
        def update(self, key, value, *more, **named):
            return super().update(*change(key, value), *more, **named)

    return RoundingCache()


@torch.no_grad()
def enlarge_keys(model, factor: float) -> None:
    """Make keys larger and queries smaller by a power of two: the same function, other ranges."""
    for layer in model.model.layers:
        layer.self_attn.k_proj.weight.mul_(factor)
        layer.self_attn.q_proj.weight.div_(factor)


@pytest.mark.parametrize("name", ["llama_gqa", "qwen2", "qwen3"])
@pytest.mark.parametrize("how", ROUNDED)
@torch.no_grad()
def test_logits_are_those_of_rounding_by_hand(small_folders, small_model, small_tokens, name, how):
    model = small_model(small_folders[name])
    options, change = ROUNDED[how]
    exact = model(small_tokens).logits
    wanted = model(small_tokens, past_key_values=rounding_cache(change), use_cache=True).logits
    with quantized_kv_cache(model, **options):
        found = model(small_tokens, use_cache=False).logits
    assert torch.equal(found, wanted) and not torch.equal(found, exact)
    assert torch.equal(model(small_tokens).logits, exact)  # exact again after the block


@torch.no_grad()
def test_attention_is_the_formula_on_rounded_keys_and_values(small_model, llama_gqa, small_tokens):
    """Nothing of transformers' cache in the reference: the first layer's attention, written out."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    model, seen = small_model(llama_gqa), {}
    layer = model.model.layers[0]
    layer.self_attn.register_forward_hook(
        lambda _, args, kwargs, output: seen.update(kwargs, output=output[0]), with_kwargs=True
    )
    with quantized_kv_cache(model, "int8", "token"):
        model(small_tokens)
    states = [
        linear(seen["hidden_states"]).unflatten(-1, (-1, 64)).transpose(1, 2)
        for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
    ]
    query, key = apply_rotary_pos_emb(*states[:2], *seen["position_embeddings"])
    results = [
        scaled_dot_product_attention(query, *pair, is_causal=True, enable_gqa=True)
        for pair in ((key, states[2]), (fake_quantize_kv_int(key), fake_quantize_kv_int(states[2])))
    ]
    exact, wanted = (layer.self_attn.o_proj(heads.transpose(1, 2).flatten(2)) for heads in results)
    assert (seen["output"] - wanted).norm() < 0.01 * (exact - wanted).norm()


@pytest.mark.parametrize("options", [dict(granularity="token", dtype="int8"), dict(scales=0.01)])
@torch.no_grad()
def test_generating_token_by_token_reads_the_same_cache(small_model, llama_gqa, small_tokens, options):
    from transformers import DynamicCache

    model, tokens = small_model(llama_gqa), small_tokens[:2, :12]
    with quantized_kv_cache(model, **options):
        whole = model(tokens, use_cache=False).logits
        cache, steps = DynamicCache(), []
        for position in range(12):
            token = tokens[:, position : position + 1]
            steps.append(model(token, past_key_values=cache, use_cache=True).logits)
    exact = model(tokens).logits
    assert (torch.cat(steps, 1) - whole).norm() < 0.05 * (whole - exact).norm()


@pytest.mark.parametrize("granularity", ["tensor", "head", "channel"])
@pytest.mark.parametrize("dtype", ["fp8", "int8"])
@torch.no_grad()
def test_ranges_fix_the_scales_at_every_granularity(small_model, llama_gqa, small_tokens, dtype, granularity):
    model = small_model(llama_gqa)
    ranges, layer = kv_ranges(model, small_tokens), iter(range(2))
    absmax = {
        "tensor": lambda channels: channels.max(),
        "head": lambda channels: channels.amax(1).view(1, 2, 1, 1),
        "channel": lambda channels: channels.view(1, 2, 1, 64),
    }[granularity]

    def change(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        found = ranges[next(layer)]
        scales = [kv_scale(absmax(c), dtype) for c in (found.key_channels, found.value_channels)]
        function = fake_quantize_kv_fp8 if dtype == "fp8" else fake_quantize_kv_int
        return function(key, scale=scales[0]), function(value, scale=scales[1])

    fresh = small_tokens.flip(0, 1)  # not the calibration tokens: some of their keys saturate
    wanted = model(fresh, past_key_values=rounding_cache(change), use_cache=True).logits
    with quantized_kv_cache(model, dtype, granularity, ranges):
        assert torch.equal(model(fresh).logits, wanted)


@torch.no_grad()
def test_calibrated_scales_win_clearly_where_keys_exceed_448(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    enlarge_keys(model, 2.0**8)
    calibration, evaluation = small_tokens[:4], small_tokens[4:]
    ranges = kv_ranges(model, calibration)
    assert min(float(layer.key.min()) for layer in ranges) > 448
    exact = model(evaluation).logits
    kl = {}
    for name, scales in (("one", 1.0), ("calibrated", ranges), ("absmax", None)):
        with quantized_kv_cache(model, "fp8", scales=scales):
            kl[name] = divergence(exact, model(evaluation).logits).kl_mean
    with quantized_kv_cache(model, "int8", "token"):
        kl["int8"] = divergence(exact, model(evaluation).logits).kl_mean
    assert kl["one"] > 10 * kl["calibrated"] > 0
    assert kl["calibrated"] < 2 * kl["absmax"] and kl["int8"] < kl["calibrated"]


@torch.no_grad()
def test_the_yardstick_measures_it_and_takes_it_for_another_model(small_model, llama_gqa, small_tokens):
    model, reference = small_model(llama_gqa, torch.bfloat16), small_model(llama_gqa, torch.bfloat16)
    plain = HFSource(model).hash
    hashes = {plain}
    for options in (dict(), dict(scales=1.0), dict(scales=2.0), dict(dtype="int8", granularity="token")):
        with quantized_kv_cache(model, **options):
            hashes.add(HFSource(model).hash)
            assert divergence(reference, model, small_tokens).kl_mean > 0
    assert len(hashes) == 5 and HFSource(model).hash == plain
    assert divergence(reference, model, small_tokens).kl_mean == 0


def test_the_model_is_restored_after_an_error(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    names = set(model.state_dict())
    with pytest.raises(KeyError), quantized_kv_cache(model):
        with pytest.raises(QCourseError, match="quantized already; leave that block first"):
            quantized_kv_cache(model).__enter__()
        raise KeyError
    assert set(model.state_dict()) == names
    assert not any(layer.self_attn._forward_pre_hooks for layer in model.model.layers)


def test_what_cannot_be_done_is_refused(small_model, llama_gqa, small_tokens):
    model = small_model(llama_gqa)
    ranges = kv_ranges(model, small_tokens)
    for options, words in [
        (dict(dtype="int4"), "unknown KV cache dtype 'int4'; known are fp8, int8"),
        (
            dict(granularity="row"),
            "unknown granularity 'row' and 'row'; known are tensor, head, token, channel",
        ),
        (dict(granularity="token", scales=ranges), "leave the ranges out for 'token'"),
        (dict(scales=ranges[:1]), "1 ranges do not fit 2 decoder layers"),
        (dict(scales=0.0), "a scale of 0.0 is not usable"),
    ]:
        with pytest.raises(QCourseError, match=words), quantized_kv_cache(model, **options):
            pass
    with (
        quantized_kv_cache(model),
        pytest.raises(QCourseError, match="one token alone fixes no scale a tensor"),
    ):
        model(small_tokens[:, :1])
