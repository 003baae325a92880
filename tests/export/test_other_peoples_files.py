"""Quantized files as the hub has them, built by numpy from each format's definition, and what they mean."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qcourse import export
from qcourse.common import QCourseError

NAME = "model.layers.0.mlp.up_proj"
ROWS, COLUMNS, SIZE = 32, 128, 32
GROUPS = COLUMNS // SIZE


@pytest.fixture
def dice():
    return np.random.default_rng(11)


def folder_of(place, tensors, settings, name=NAME):
    """Write a folder of one linear; tensors: numpy arrays or tensors by the name of the part."""
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps({"quantization_config": settings}))
    stored = {
        f"{name}.{part}": torch.as_tensor(value).contiguous().clone() for part, value in tensors.items()
    }
    save_file(stored, place / "model.safetensors")
    return place


def words(codes):
    """Pack 4-bit codes along the first dimension, eight in an int32, the first lowest."""
    eights = codes.astype(np.uint64).reshape(-1, 8, codes.shape[1])
    packed = sum(eights[:, place] << np.uint64(4 * place) for place in range(8))
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32))


def gptq(dice, stored_zero, group=None):
    """Return GPTQ's tensors with these stored zero points [groups, out], the codes and the scales."""
    codes = dice.integers(0, 16, (COLUMNS, ROWS))
    scale = 2.0 ** dice.integers(-9, -3, (GROUPS, ROWS))
    group = np.arange(COLUMNS) // SIZE if group is None else group
    zeros = np.broadcast_to(stored_zero, (GROUPS, ROWS))
    tensors = {"qweight": words(codes), "qzeros": words(zeros.T).T.contiguous(),
               "scales": torch.from_numpy(scale).half(),
               "g_idx": torch.from_numpy(group.astype(np.int32))}  # fmt: skip
    return tensors, codes, scale


SETTINGS = {"quant_method": "gptq", "bits": 4, "group_size": SIZE, "sym": True, "desc_act": False}
LABELS = {
    "v1 as it is": ("gptq", True, 7, 8, False),
    "v2 as it is": ("gptq_v2", True, 8, 8, False),
    "v2 labelled v1": ("gptq", True, 8, 8, True),
    "v2 without a label": (None, True, 8, 8, True),
    "v1 labelled v2": ("gptq_v2", True, 7, 8, True),
    "asymmetric by the letter": ("gptq", False, 8, 9, False),
    "asymmetric v2": ("gptq_v2", False, 7, 7, False),
}


@pytest.mark.parametrize("case", LABELS)
def test_symmetric_zero_points_tell_the_version_whatever_the_label(case, dice, tmp_path, capfd):
    said, symmetric, stored, meant, told = LABELS[case]
    tensors, codes, scale = gptq(dice, stored)
    settings = SETTINGS | {"sym": symmetric} | ({"checkpoint_format": said} if said else {})
    found = export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"]
    wanted = ((codes - meant) * scale.repeat(SIZE, 0)).T
    assert np.array_equal(found.numpy(), wanted)
    assert ("symmetric zero points are stored as version" in capfd.readouterr().err) == told


def test_act_order_puts_columns_in_any_group(dice, tmp_path):
    group = dice.permutation(np.arange(COLUMNS) // SIZE)
    zeros = dice.integers(0, 15, (GROUPS, ROWS))
    tensors, codes, scale = gptq(dice, zeros, group)
    folder = folder_of(tmp_path / "a", tensors, SETTINGS | {"sym": False, "desc_act": True})
    wanted = ((codes - (zeros + 1)[group]) * scale[group]).T
    assert np.array_equal(export.read(folder)[f"{NAME}.weight"].numpy(), wanted)
    tensors["g_idx"][3] = -1
    with pytest.raises(QCourseError, match="g_idx names groups that are not among its 4"):
        export.read(folder_of(tmp_path / "b", tensors, SETTINGS))


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"checkpoint_format": "marlin"}, "laid out as 'marlin'"),
        ({"checkpoint_format": "marlin_24"}, "laid out as 'marlin_24'"),
        ({"format": "bitblas"}, "laid out as 'bitblas'"),
        ({"is_marlin_format": True}, "laid out as 'marlin'"),
        ({"pack_dtype": "int16"}, "in int16 words"),
        *[({"quant_method": "awq", "version": name}, f"laid out as '{name}'")
          for name in ("marlin", "gemv", "gemv_fast", "exllama", "ipex")],
        ({"quant_method": "awq", "bits": 8, "version": "gemm"}, "in 8 bits"),
        *[({"quant_method": name}, f"quantized as '{name}'")
          for name in ("torchao", "hqq", "aqlm", "eetq", "quanto", "quip", "higgs", "modelopt", "vptq")],
        ({"quant_method": None}, "quantized as None"),
    ],
)  # fmt: skip
def test_layouts_that_are_not_read_are_named(settings, match, dice, tmp_path):
    folder = folder_of(tmp_path / "a", gptq(dice, 7)[0], SETTINGS | settings)
    for read in (export.read, export.read_layers):
        with pytest.raises(QCourseError, match=match):
            read(folder)


AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def awq_words(codes):
    """Pack 4-bit codes [n, out] as AutoAWQ's gemm does: nibble i of a word is output AWQ_ORDER[i]."""
    eights = codes.astype(np.uint64).reshape(len(codes), -1, 8)
    packed = sum(eights[..., output] << np.uint64(4 * place) for place, output in enumerate(AWQ_ORDER))
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32))


def test_awq_is_read_by_its_zero_points_whatever_zero_point_says(dice, tmp_path):
    codes, zeros = dice.integers(0, 16, (COLUMNS, ROWS)), dice.integers(0, 16, (GROUPS, ROWS))
    scale = 2.0 ** dice.integers(-9, -3, (GROUPS, ROWS))
    tensors = {"qweight": awq_words(codes), "qzeros": awq_words(zeros),
               "scales": torch.from_numpy(scale).half()}  # fmt: skip
    wanted = ((codes - zeros.repeat(SIZE, 0)) * scale.repeat(SIZE, 0)).T
    for zero_point in (True, False):
        settings = {"quant_method": "awq", "w_bit": 4, "q_group_size": SIZE, "zero_point": zero_point}
        found = export.read(folder_of(tmp_path / "a", tensors, settings))
        assert np.array_equal(found[f"{NAME}.weight"].numpy(), wanted)
    del tensors["qzeros"]
    with pytest.raises(QCourseError, match=r"up_proj of .* cannot be decoded: it lacks 'qzeros'"):
        export.read(folder_of(tmp_path / "b", tensors, settings))


FP8_SHAPES = [(), (1,), (1, 1), (ROWS,), (ROWS, 1)]


@pytest.mark.parametrize("shape", FP8_SHAPES, ids=str)
@pytest.mark.parametrize("method", ["fp8", "fbgemm_fp8", "compressed-tensors"])
def test_fp8_scales_of_every_shape(method, shape, dice, tmp_path):
    weight = torch.from_numpy(dice.normal(size=(ROWS, COLUMNS))).to(torch.float8_e4m3fn)
    scale = np.asarray(2.0 ** dice.integers(-9, -3, shape))
    tensors = {"weight": weight, "weight_scale": torch.from_numpy(scale).to(torch.bfloat16)}
    entry = {"num_bits": 8, "type": "float", "strategy": "channel" if scale.size > 1 else "tensor"}
    settings = {"quant_method": method, "format": "float-quantized", "activation_scheme": "dynamic",
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": entry}}}  # fmt: skip
    found = export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"]
    assert np.array_equal(found.numpy(), weight.float().numpy() * scale.reshape(-1, 1))


def test_fp8_blocks_of_128_with_ragged_ends(dice, tmp_path):
    weight = torch.from_numpy(dice.normal(size=(200, 320))).to(torch.float8_e4m3fn)
    scale = 2.0 ** dice.integers(-9, -3, (2, 3))
    spread = scale.repeat(128, 0)[:200].repeat(128, 1)[:, :320]
    tensors = {"weight": weight, "weight_scale_inv": torch.from_numpy(scale).float()}
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    folder = folder_of(tmp_path / "a", tensors, settings)
    assert np.array_equal(export.read(folder)[f"{NAME}.weight"].numpy(), weight.float().numpy() * spread)
    folder = folder_of(
        tmp_path / "b", tensors | {"weight_scale_inv": tensors["weight_scale_inv"].T}, settings
    )
    with pytest.raises(QCourseError, match=r"scales \[3, 2\] are not one for 128 x 128 weights"):
        export.read(folder)


@pytest.mark.parametrize("wrong", [(1, COLUMNS), (2,), (1, ROWS)])
def test_scales_along_the_wrong_side_are_refused(wrong, dice, tmp_path):
    weight = torch.from_numpy(dice.normal(size=(COLUMNS, COLUMNS))).to(torch.float8_e4m3fn)
    entry = {"num_bits": 8, "type": "float", "strategy": "channel"}
    settings = {"quant_method": "compressed-tensors", "format": "float-quantized",
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": entry}}}  # fmt: skip
    folder = folder_of(tmp_path / "a", {"weight": weight, "weight_scale": torch.ones(wrong)}, settings)
    with pytest.raises(QCourseError, match=f"do not fit {COLUMNS} rows"):
        export.read(folder)


def compressed(format, weights, **more):
    """Return compressed-tensors' settings of one group."""
    return {"quant_method": "compressed-tensors", "format": format, **more,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}  # fmt: skip


def test_microscaled_fp8_has_powers_of_two(dice, tmp_path):
    weight = torch.from_numpy(dice.normal(size=(ROWS, COLUMNS))).to(torch.float8_e4m3fn)
    power = dice.integers(118, 124, (ROWS, GROUPS)).astype(np.uint8)
    settings = compressed("mxfp8-quantized", {"num_bits": 8, "type": "float", "strategy": "group",
                                              "group_size": SIZE})  # fmt: skip
    folder = folder_of(tmp_path / "a", {"weight": weight, "weight_scale": power}, settings)
    wanted = weight.float().numpy() * 2.0 ** (power.repeat(SIZE, 1).astype(float) - 127)
    assert np.array_equal(export.read(folder)[f"{NAME}.weight"].numpy(), wanted)


@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS,), (1,)], ids=str)
@pytest.mark.parametrize(
    "inputs", [None, {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}]
)
def test_packed_bytes_with_scales_of_rows(inputs, shape, dice, tmp_path):
    numbers = dice.integers(-128, 128, (ROWS, COLUMNS))
    scale = np.asarray(2.0 ** dice.integers(-9, -3, shape))
    packed = torch.from_numpy((numbers + 128).astype(np.uint8)).view(torch.int32)
    strategy = "channel" if len(shape) > 1 else "tensor"
    settings = compressed("pack-quantized", {"num_bits": 8, "type": "int", "strategy": strategy})
    settings["config_groups"]["group_0"]["input_activations"] = inputs
    tensors = {"weight_packed": packed, "weight_scale": torch.from_numpy(scale).to(torch.bfloat16),
               "weight_shape": np.array([ROWS, COLUMNS])}  # fmt: skip
    found = export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"]
    assert np.array_equal(found.numpy(), numbers * scale.reshape(-1, 1))


def test_naive_bytes_are_numbers(dice, tmp_path):
    numbers = dice.integers(-8, 8, (ROWS, COLUMNS)).astype(np.int8)
    scale = 2.0 ** dice.integers(-9, -3, (ROWS, 1))
    settings = compressed("naive-quantized", {"num_bits": 4, "type": "int", "strategy": "channel"})
    tensors = {"weight": numbers, "weight_scale": torch.from_numpy(scale).float()}
    assert np.array_equal(export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"].numpy(),
                          numbers * scale)  # fmt: skip


def test_the_group_that_names_a_module_goes_before_its_class(dice, tmp_path):
    """compressed-tensors: a name, else a pattern, else the class, in whatever order the groups stand."""
    numbers = dice.integers(-128, 128, (ROWS, COLUMNS))
    scale = 2.0 ** dice.integers(-9, -3, (ROWS, 1))
    packed = torch.from_numpy((numbers + 128).astype(np.uint8)).view(torch.int32)
    tensors = {"weight_packed": packed, "weight_scale": torch.from_numpy(scale).float(),
               "weight_shape": np.array([ROWS, COLUMNS])}  # fmt: skip
    settings = compressed("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "channel"})
    bytes_ = {"num_bits": 8, "type": "int", "strategy": "channel"}
    for target in ("re:.*up_proj$", NAME):
        settings["config_groups"]["group_1"] = {"targets": [target], "weights": bytes_}
        found = export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"]
        assert np.array_equal(found.numpy(), numbers * scale)


@pytest.mark.parametrize("name, target", [("lm_head", "Linear"), ("lm_head", "re:.*lm_head"),
                                          ("model.embed_tokens", "Embedding")])  # fmt: skip
def test_heads_and_embeddings_are_quantized_too(name, target, dice, tmp_path):
    numbers = dice.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scale = 2.0 ** dice.integers(-9, -3, (ROWS, 1))
    settings = compressed("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"})
    settings["config_groups"]["group_0"]["targets"] = [target]
    tensors = {"weight": numbers, "weight_scale": torch.from_numpy(scale).float()}
    found = export.read(folder_of(tmp_path / "a", tensors, settings, name))[f"{name}.weight"]
    assert np.array_equal(found.numpy(), numbers * scale)


@pytest.mark.parametrize(
    "more, format, match",
    [
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "float-quantized", "sparse-24-bitmask"),
        ({}, "marlin-24", "compressed as 'marlin-24'"),
        ({"transform_config": {"config_groups": {"u": {}}}}, "float-quantized", "has a transform_config"),
    ],
)
def test_what_compressed_tensors_does_beyond_quantizing_is_refused_by_name(
    more, format, match, dice, tmp_path
):
    weight = torch.from_numpy(dice.normal(size=(ROWS, COLUMNS))).to(torch.float8_e4m3fn)
    settings = compressed(format, {"num_bits": 8, "type": "float", "strategy": "tensor"}, **more)
    folder = folder_of(tmp_path / "a", {"weight": weight, "weight_scale": torch.ones(1)}, settings)
    with pytest.raises(QCourseError, match=match):
        export.read(folder)


def test_sparse_pieces_without_scales_are_refused_by_name(tmp_path):
    settings = compressed("dense", {"num_bits": 8, "type": "float", "strategy": "tensor"})
    pieces = {
        "compressed": torch.ones(4),
        "bitmask": torch.ones(4, dtype=torch.uint8),
        "shape": torch.ones(2),
    }
    with pytest.raises(QCourseError, match=f"{NAME}.(compressed|bitmask|shape)"):
        export.read(folder_of(tmp_path / "a", pieces, settings))


@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind, size, nested", [("nf4", 64, True), ("fp4", 128, True), ("fp4", 64, False),
                                                ("nf4", 256, True)])  # fmt: skip
def test_bitsandbytes_blocks_as_the_library_writes_and_reads_them(kind, size, nested, storage, tmp_path):
    functional = pytest.importorskip("bitsandbytes.functional")
    torch.manual_seed(0)
    codes, state = functional.quantize_4bit(torch.randn(64, 512), blocksize=size, quant_type=kind,
                                            compress_statistics=nested, quant_storage=storage)  # fmt: skip
    parts = {"weight": codes} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    found = export.read(folder_of(tmp_path / "a", parts, settings))[f"{NAME}.weight"]
    torch.testing.assert_close(found, functional.dequantize_4bit(codes, state).float(), rtol=0, atol=0)


def test_bitsandbytes_int8_is_code_times_row_maximum(dice, tmp_path):
    numbers, maxima = dice.integers(-127, 128, (ROWS, COLUMNS)).astype(np.int8), dice.random(ROWS)
    tensors = {"weight": numbers, "SCB": torch.from_numpy(maxima).float(),
               "weight_format": torch.tensor(0, dtype=torch.uint8)}  # fmt: skip
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    found = export.read(folder_of(tmp_path / "a", tensors, settings))[f"{NAME}.weight"]
    assert np.allclose(found.numpy(), numbers * maxima[:, None] / 127, rtol=1e-6, atol=0)
    tensors["weight_format"] = torch.tensor(2, dtype=torch.uint8)
    with pytest.raises(QCourseError, match="tiled for one kind of GPU"):
        export.read(folder_of(tmp_path / "b", tensors, settings))


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.int32])
def test_a_weight_of_codes_alone_is_refused(dtype, tmp_path):
    folder = folder_of(tmp_path / "a", {"weight": torch.ones(4, 4).to(dtype)}, {})
    with pytest.raises(
        QCourseError, match=f"{NAME}.weight .{str(dtype)[6:]}.*quantization_config is missing"
    ):
        export.read(folder)
