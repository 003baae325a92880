"""GGUF files: the same weights back, the rotary permutation only where llama.cpp wants it, clear refusals."""

import copy
import json
import math
import random
import struct
from unittest.mock import MagicMock

import pytest
import torch

from qcourse import export, gguf_reader
from qcourse.common import QCourseError, content_hash
from qcourse.export import folder as folder_module
from qcourse.export.gguf import tokenizer
from qcourse.export.gguf.quantize import NEED_IMATRIX
from qcourse.gguf_reader import names
from qcourse.recipe.fit import gguf_block
from tests.engines import require
from tests.export.gguf_damage import lengths, no_hang


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    """Return a function that writes a small model as GGUF once."""
    require("gguf")
    root, done = tmp_path_factory.mktemp("gguf"), {}

    def write(name):
        if name not in done:
            done[name] = export.gguf.write(*small(name), root / f"{name}.gguf")
        return done[name]

    return write


@pytest.mark.parametrize("family", [
    "llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width", "phi3", "gemma2", "gemma3"])  # fmt: skip
def test_weights_return_unchanged(family, small, written):
    model = small(family)[0]
    weights = export.gguf.read(written(family))
    expected = model.state_dict()
    if model.config.tie_word_embeddings:
        del expected["lm_head.weight"]
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value.float()), name


@pytest.mark.parametrize("family, permuted", [("llama_gqa", True), ("qwen2", False), ("qwen3", False)])
def test_only_llama_permutes_q_and_k(family, permuted, small, written):
    import gguf

    reader = gguf.GGUFReader(written(family))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    layer = small(family)[0].model.layers[0].self_attn
    for part, linear in (("q", layer.q_proj), ("k", layer.k_proj), ("v", layer.v_proj)):
        raw = stored[f"blk.0.attn_{part}.weight"]
        weight = torch.from_numpy(gguf.quants.dequantize(raw.data, raw.tensor_type))
        rows = linear.weight.float()
        assert torch.equal(weight, rows) == (part == "v" or not permuted)
        heads = rows.shape[0] // layer.head_dim
        if permuted and part != "v":
            # Rows 0 and 1 are the pair that llama.cpp rotates: rows 0 and head_dim / 2 of transformers.
            assert torch.equal(weight[1], rows[layer.head_dim // 2])
            assert torch.equal(names.unpermute_rotary(weight, heads), rows)


def test_types_and_metadata(small, written):
    import gguf

    types = export.gguf.tensor_types(written("llama_tied"))
    assert types["blk.0.ffn_up.weight"] == ("BF16", (512, 256))
    assert types["blk.0.attn_norm.weight"] == ("F32", (256,))
    assert "output.weight" not in types
    model, tokens = small("llama_tied")
    reader = gguf.GGUFReader(written("llama_tied"))
    expected = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.attention.head_count_kv": 4,
        "llama.rope.freq_base": model.config.rope_parameters["rope_theta"],
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.bos_token_id": tokens.bos_token_id,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tokens.chat_template,
    }
    assert {key: reader.get_field(key).contents() for key in expected} == expected
    assert len(reader.get_field("tokenizer.ggml.tokens").contents()) == model.config.vocab_size


def test_same_model_same_bytes_and_other_dtypes(small, tmp_path):
    model, tokens = small("llama_gqa")
    first, second = (export.gguf.write(model, tokens, tmp_path / name) for name in ("a.gguf", "b.gguf"))
    assert first.read_bytes() == second.read_bytes()
    wide = copy.deepcopy(model).float()
    wide.model.layers[0].mlp.up_proj.weight.data[0, 0] = 1 + 2**-20
    path = export.gguf.write(wide, tokens, tmp_path / "wide.gguf", manifest={"made_by": {"seed": 3}})
    assert export.gguf.tensor_types(path)["blk.0.ffn_up.weight"][0] == "F32"
    assert export.gguf.read(path)["model.layers.0.mlp.up_proj.weight"][0, 0] == 1 + 2**-20
    assert export.read_record(path).made_by["seed"] == 3


def test_every_file_has_a_record_of_its_own(small, tmp_path):
    from qcourse.recipe import named

    theirs = tmp_path / "recipe.json"
    theirs.write_text("flour, water, salt")
    before = content_hash(tmp_path)
    for name, seed in (("gguf-bf16", 1), ("gguf-f16", 2)):
        facts = {"made_by": {"seed": seed}}
        export.gguf.write(*small("llama_gqa"), tmp_path / f"{name}.gguf", named(name), facts)
    for name, seed in (("gguf-bf16", 1), ("gguf-f16", 2)):
        record = export.read_record(tmp_path / f"{name}.gguf")
        assert (record.name, record.made_by["seed"], record.format) == (name, seed, "gguf")
    assert theirs.read_text() == "flour, water, salt"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gguf-bf16.gguf", "gguf-bf16.gguf.recipe.json", "gguf-f16.gguf", "gguf-f16.gguf.recipe.json",
        "recipe.json",
    ]  # fmt: skip
    with_records = content_hash(tmp_path)
    for path in tmp_path.glob("*.gguf.recipe.json"):
        path.unlink()
    assert content_hash(tmp_path) == with_records != before


def test_a_record_does_not_outlive_its_file(small, tmp_path):
    path = export.gguf.write(*small("llama_gqa"), tmp_path / "x.gguf", manifest={"made_by": {"seed": 1}})
    (tmp_path / "recipe.json").write_text('{"name": "of another artefact"}')
    assert export.read_record(path).made_by["seed"] == 1
    export.gguf.write(*small("llama_gqa"), path)
    with pytest.raises(QCourseError, match="has no x.gguf.recipe.json; it was not written by qcourse"):
        export.read_record(path)


def test_llama_cpp_s_quantizer_replaces_file_and_record(small, written, tmp_path):
    require("llama.cpp")
    target = tmp_path / "x.gguf"
    for seed in (1, 2):
        export.gguf.quantize(written("llama_gqa"), target, "Q8_0", manifest={"made_by": {"seed": seed}})
        assert export.read_record(target).made_by["seed"] == seed
    export.gguf.quantize(written("llama_gqa"), target, "Q4_0")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_a_weight_too_large_for_float16_scales_is_told_as_such(small, tmp_path):
    require("llama.cpp")
    model = copy.deepcopy(small("llama_gqa")[0])
    model.model.layers[1].self_attn.k_proj.weight[0, 3] = 3e7
    source = export.gguf.write(model, small("llama_gqa")[1], tmp_path / "bf16.gguf")
    with pytest.raises(QCourseError, match=r"too large for this type's float16 \(limit 65504\): write BF16"):
        export.gguf.quantize(source, tmp_path / "x.gguf", "Q8_0")
    assert [path.name for path in tmp_path.iterdir()] == ["bf16.gguf"]


def test_llama3_rotary_factors_match_transformers(small):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    from qcourse.export.gguf.rope import rotary, rotary_factors

    config = type(small("llama_gqa")[0].config)(**small("llama_gqa")[0].config.to_dict())
    config.rope_parameters = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0]
    plain = 500000.0 ** -(torch.arange(0, 64, 2).float() / 64)
    torch.testing.assert_close(plain / rotary_factors(config)["rope_freqs.weight"], scaled, rtol=1e-5, atol=0)
    for refused in ({"rope_type": "dynamic"}, {"rope_type": "yarn", "beta_slow": 2.0}):
        config.rope_parameters = {"rope_theta": 1e4, "factor": 4.0, **refused}
        with pytest.raises(QCourseError, match=refused["rope_type"]):
            rotary(config)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}


def reconfigured(model, **changes):
    """Return the model with a configuration of its own; its weights are shared."""
    changed = copy.copy(model)
    changed.config = type(model.config)(**(model.config.to_dict() | changes))
    return changed


@pytest.mark.parametrize(
    "more",
    [{}, {"attention_factor": 1.3}, {"mscale": 1.0, "mscale_all_dim": 0.5}],
    ids=["usual", "own", "mscale"],
)
def test_yarn_is_written_with_llama_cpps_keys(more, small, tmp_path):
    """llama.cpp multiplies attn_factor by 1 + 0.1 ln(factor); transformers states the product."""
    from gguf import GGUFReader
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    model, tokenizer = small("qwen3")
    model = reconfigured(model, rope_parameters=YARN | more)
    reader = GGUFReader(export.gguf.write(model, tokenizer, tmp_path / "a.gguf"))
    keys = ("type", "factor", "original_context_length", "attn_factor")
    kind, factor, context, times = (reader.get_field(f"qwen3.rope.scaling.{key}").contents() for key in keys)
    assert (kind, factor, context) == ("yarn", 4.0, 128)
    wanted = ROPE_INIT_FUNCTIONS["yarn"](model.config, "cpu")[1]
    assert times * (1 + 0.1 * math.log(4)) == pytest.approx(wanted, rel=1e-6)
    folder = gguf_reader.convert(tmp_path / "a.gguf", tmp_path / "folder")
    back = AutoConfig.from_pretrained(folder)
    found, attention = ROPE_INIT_FUNCTIONS["yarn"](back, "cpu")
    assert attention == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(found, ROPE_INIT_FUNCTIONS["yarn"](model.config, "cpu")[0])


@pytest.mark.parametrize("kind", ["mistral", "qwen2"])
def test_a_sliding_window_shorter_than_the_context_is_refused(kind, small, tmp_path):
    """llama.cpp attends to everything in these architectures: KL 1.5 and 1.3 beyond a window of 16."""
    from transformers import AutoConfig, AutoModelForCausalLM

    _, tokenizer = small("llama_gqa")
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "vocab_size": 512, "max_position_embeddings": 64}  # fmt: skip
    own = {"use_sliding_window": True, "max_window_layers": 1} if kind == "qwen2" else {}
    for window, written in ((16, False), (64, True), (None, True)):
        config = AutoConfig.for_model(kind, **shape, **own, sliding_window=window)
        model, path = AutoModelForCausalLM.from_config(config), tmp_path / f"{window}.gguf"
        if written:
            assert export.gguf.write(model, tokenizer, path).exists()
            continue
        with pytest.raises(QCourseError, match=f"looks back 16 of 64 tokens, .* no window for {kind}"):
            export.gguf.write(model, tokenizer, path)
        assert not path.exists()


LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 1.0,
            "short_factor": [1.0] * 32, "long_factor": [4.0] * 32}  # fmt: skip
GEMMA3_TURNS = {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "words"), [
    ("smollm3", {"no_rope_layers": [1, 1, 0, 1]}, r"no_rope_layers is \[1, 1, 0, 1\] .* but each fourth"),
    ("olmo2", {"attention_bias": True}, "have biases and llama.cpp's olmo2 knows none"),
    ("phi3", {"sliding_window": 24}, "back 24 of 512 tokens, and llama.cpp has no window for phi3"),
    ("phi3", {"rope_parameters": LONGROPE}, "scaling 'longrope' .*is not written to GGUF"),
    ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}},
     "partial_rotary_factor 0.75 is not written"),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]},
     "all layers but each of number 2, 4, .* for gemma2"),
    ("gemma2", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar is 64 .* of 2 layers with 32"),
    ("gemma2", {"attn_logit_softcapping": None}, "softcapping is None and llama.cpp's gemma2 always caps"),
    ("gemma3", {"final_logit_softcapping": 30.0}, "softcapping is 30.0 and llama.cpp's gemma3 never caps"),
    ("gemma3", {"rope_parameters": GEMMA3_TURNS}, "window turn by .*20000.* knows rope_theta 10000 without"),
])  # fmt: skip
def test_attention_that_llama_cpp_computes_otherwise_is_refused(name, changes, words, small, tmp_path):
    model, tokenizer = small(name)
    with pytest.raises(QCourseError, match=words):
        export.gguf.write(reconfigured(model, **changes), tokenizer, tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


def test_a_tied_head_is_written_where_llama_cpp_asks_for_one(small, tmp_path):
    import gguf

    for name, wanted in (("olmo2", 2), ("llama_gqa", 1)):
        model, tokenizer = small(name)
        tied = reconfigured(copy.deepcopy(model), tie_word_embeddings=True)
        tied.lm_head.weight = tied.model.embed_tokens.weight
        path = export.gguf.write(tied, tokenizer, tmp_path / f"{name}.gguf")
        names = [tensor.name for tensor in gguf.GGUFReader(path).tensors]
        assert len({"token_embd.weight", "output.weight"} & set(names)) == wanted


def test_gemma_says_window_caps_and_width_of_a_head_and_stores_norms_with_one_added(small, written):
    from gguf import GGUFReader

    model, _ = small("gemma2")
    reader = GGUFReader(written("gemma2"))
    expected = {
        "general.architecture": "gemma2",
        "gemma2.attention.sliding_window": 24,
        "gemma2.attn_logit_softcapping": 50.0,
        "gemma2.final_logit_softcapping": 30.0,
        "gemma2.attention.key_length": 32,
    }
    assert {key: reader.get_field(key).contents() for key in expected} == expected
    stored = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors if "norm" in tensor.name}
    layer = model.model.layers[1]
    for name, norm in (("attn_norm", layer.input_layernorm), ("ffn_norm", layer.pre_feedforward_layernorm),
                       ("post_attention_norm", layer.post_attention_layernorm),
                       ("post_ffw_norm", layer.post_feedforward_layernorm)):  # fmt: skip
        assert torch.equal(stored[f"blk.1.{name}.weight"], norm.weight.float() + 1)


def test_a_turn_that_ends_with_another_token_than_a_text_is_told(small, tmp_path):
    from gguf import GGUFReader

    model, tokenizer = small("llama_tied")
    tokenizer = copy.deepcopy(tokenizer)
    plain = GGUFReader(export.gguf.write(model, tokenizer, tmp_path / "plain.gguf"))
    assert plain.get_field("tokenizer.ggml.eot_token_id") is None
    tokenizer.add_special_tokens({"additional_special_tokens": [tokenizer.convert_ids_to_tokens(2)]})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}" + tokenizer.convert_ids_to_tokens(2) + "{% endfor %}"
    )
    made = GGUFReader(export.gguf.write(model, tokenizer, tmp_path / "a.gguf"))
    assert made.get_field("tokenizer.ggml.eot_token_id").contents() == 2
    assert made.get_field("tokenizer.ggml.eos_token_id").contents() == tokenizer.eos_token_id != 2
    tokenizer.chat_template = "{{ messages[-1]['content'] }}" + tokenizer.eos_token
    same = GGUFReader(export.gguf.write(model, tokenizer, tmp_path / "b.gguf"))
    assert same.get_field("tokenizer.ggml.eot_token_id") is None


BPE = {"type": "BPE", "vocab": {"a": 0}, "merges": []}


def stranger(state):
    """Return what `add_tokenizer` asks of a tokenizer whose tokenizer.json is `state`."""
    backend = type("Backend", (), {"to_str": lambda self: json.dumps(state)})()
    return type("Stranger", (), {"backend_tokenizer": backend, "all_special_ids": [], "unk_token_id": None})()


def test_other_models_and_tokenizers_are_refused(small, tmp_path):
    model, tokens = small("llama_gqa")
    stranger_model = copy.copy(model)
    stranger_model.config = type("Config", (), {"model_type": "mamba"})
    with pytest.raises(QCourseError, match="'mamba' is not supported"):
        export.gguf.write(stranger_model, tokens, tmp_path / "mamba.gguf")
    byte_level = {"type": "ByteLevel", "use_regex": False}
    for state, words in (
        ({"model": {"type": "Unigram"}}, "Unigram tokenizers are not written to GGUF; byte-level BPE"),
        ({"model": BPE, "pre_tokenizer": {"type": "Whitespace"}}, r"no name for .* \(Whitespace\)"),
        ({"model": BPE, "pre_tokenizer": byte_level}, r"\(ByteLevel\); known are gpt-2"),
        (
            {"model": BPE | {"byte_fallback": True}, "normalizer": {"type": "NFC"}},
            "has .'NFC'.",
        ),
    ):
        with pytest.raises(QCourseError, match=words):
            tokenizer.add_tokenizer(MagicMock(), stranger(state), 1)
    with pytest.raises(QCourseError, match="ids up to"):
        tokenizer.add_tokenizer(None, tokens, 300)


@pytest.mark.parametrize("kind, words", [
    ("Q4_K_M", r"256 columns together and \S+ has (172|300); types that work .*: F16, BF16$"),
    ("Q8_0", "32 columns together"), ("IQ2_XS", "importance matrix"), ("Q9_Z", "no file type"),
])  # fmt: skip
def test_widths_that_do_not_fit_are_refused(kind, words, written, tmp_path):
    with pytest.raises(QCourseError, match=words):
        export.gguf.quantize(written("odd_width"), tmp_path / "out.gguf", kind)
    assert list(tmp_path.iterdir()) == []


def test_every_type_has_a_block_and_small_ones_need_an_imatrix():
    assert export.gguf.types_that_fit(256) == list(export.gguf.TYPES)
    assert set(export.gguf.types_that_fit(96)) == {
        "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"
    }  # fmt: skip
    assert all(gguf_block(kind) == 256 for kind in NEED_IMATRIX)


def test_full_disk_leaves_nothing(small, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(QCourseError, match="MB free"):
        export.gguf.write(*small("llama_gqa"), tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def shorten(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def flip_bytes(count: int, span: int):
    """Return a damage that replaces `count` bytes among the first `span`."""

    def damage(data: bytearray, dice: random.Random) -> None:
        for _ in range(count):
            data[dice.randrange(span)] = dice.randrange(256)

    return damage


def giant_number(data: bytearray, dice: random.Random) -> None:
    """Put a number between 2**31 and 2**63 over eight bytes: of counts, lengths, shapes or offsets."""
    place = dice.choice([8, 16, 24, dice.randrange(24, 12_000)])
    data[place : place + 8] = struct.pack("<Q", 1 << dice.randrange(31, 64))


def giant_length(places: list[int]):
    """Return a damage that puts a number between 2**31 and 2**63 over one of the lengths at `places`."""

    def damage(data: bytearray, dice: random.Random) -> None:
        struct.pack_into("<Q", data, dice.choice(places), 1 << dice.randrange(31, 64))

    return damage


DAMAGES = [shorten, flip_bytes(1, 24), flip_bytes(1, 12_000), flip_bytes(8, 12_000), giant_number]


def test_two_hundred_damaged_gguf_files_never_crash_or_hang(written, tmp_path):
    whole, places = written("llama_gqa").read_bytes(), lengths(written("llama_gqa"))
    arrays = [place for place, kind in places.items() if kind.startswith("array")]
    assert len(arrays) == 3  # tokens, their types and merges: of one of these gguf-py makes an endless loop
    damages = [*DAMAGES, giant_length(arrays), giant_length(list(places))]
    refused = dict.fromkeys(range(len(damages)), 0)
    for seed in range(210):
        data, kind = bytearray(whole), seed % len(damages)
        damages[kind](data, random.Random(seed))
        path = tmp_path / f"{seed}.gguf"
        path.write_bytes(data)
        with no_hang():
            try:
                export.gguf.read(path)
            except QCourseError:
                refused[kind] += 1
        path.unlink()
    assert refused[5] == refused[6] == 30 and sum(refused.values()) >= 140
