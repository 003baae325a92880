"""From one file format to another: a GGUF of anyone to a bf16 folder, quantized folders among themselves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, content_hash

CONVERTED = ("gptq", "gptq_v2", "awq", "compressed-tensors")


def convert(source: Path, target: Path) -> Path:
    """Write the model of a GGUF file as a bf16 folder with its record; QCourseError says what cannot be."""
    from qcourse import gguf_reader
    from qcourse.recipe import named
    from qcourse.recipe.record import new_record, write_record

    made = gguf_reader.convert(source, target)
    facts = {"source": {"model": source.name, "hash": content_hash(source), "revision": None}}
    write_record(made, new_record(named("bf16"), "merged", facts))
    return made


def rewrite(source: Path, target: Path, form: str = "compressed-tensors") -> Path:
    """Write a GPTQ, AWQ or compressed-tensors folder in another of these formats, codes and scales unchanged.

    All else is stored as it was. Scales that only float16 holds make a model of dtype float16.
    Raises QCourseError for what the other format cannot hold, and for a folder that is not read.
    """
    import torch

    from qcourse import export
    from qcourse.export.exact import is_exact
    from qcourse.models import load_tokenizer
    from qcourse.models.skeleton import skeleton

    if form not in CONVERTED:
        raise QCourseError(f"{form!r} is no format that integer codes move to; known: {', '.join(CONVERTED)}")
    layers, dense = export.split(source)
    if not layers:
        raise QCourseError(f"{source} is not quantized; qcourse quantize writes it as {form}")
    layers = {name: as_integers(source, name, layer) for name, layer in layers.items()}
    model = skeleton(source)
    model.qcourse_folder = str(source)
    dense = checked(source, model, dense, set(layers))
    if not all(is_exact(layer.scale, torch.bfloat16) for layer in layers.values()):
        model = model.to(torch.float16)
    recipe, facts = history(source)
    return export.save(layers, model, load_tokenizer(source), target, form, recipe, facts, dense)


def as_integers(source: Path, name: str, layer: Any) -> Any:
    """Return a layer that calls itself symmetric only if its zero points are; QCourseError if it has none.

    Inputs that are rounded too are refused: only compressed-tensors says how.
    """
    if layer.kind != "int" or layer.activations:
        inputs = " with 8-bit activations" if layer.activations else ""
        raise QCourseError(f"{name} of {source} is {layer.kind}{inputs}, which no other format holds; only "
                           "integer weights with 16-bit activations are converted")  # fmt: skip
    return replace(layer, symmetric=bool((layer.zero_point == 2 ** (layer.bits - 1)).all()))


def checked(source: Path, model: Any, dense: dict[str, Any], quantized: set[str]) -> dict[str, Any]:
    """Return the tensors that the model reads; zeros (AutoGPTQ's biases) are left out where it does not.

    Raises QCourseError for others that nothing reads, for missing ones, and for scales of a KV cache.
    """
    from qcourse import export
    from qcourse.models.checkpoint import check_all_read
    from qcourse.models.load import check_complete

    known = set(model.state_dict())
    check_all_read(source, [name for name, tensor in dense.items() if name not in known and tensor.any()])
    there = dense.keys() | {f"{name}.weight" for name in quantized}
    there |= {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    check_complete(source, {"missing_keys": known - there, "mismatched_keys": []})
    if export.read_kv_scales(source):
        raise QCourseError(f"{source} holds scales of a KV cache, which are not converted: quantize again "
                           "with --kv-cache-dtype fp8")  # fmt: skip
    return {name: tensor for name, tensor in dense.items() if name in known}


def history(source: Path) -> tuple[Any, dict[str, Any]]:
    """Return the recipe and the facts of a folder's own record, or its name and hash, with where it was."""
    from qcourse import export
    from qcourse.recipe.record import find_record

    made_by = {"converted_from": export.quantization_config(source)["quant_method"]}
    if (record := find_record(source)) is None:
        return None, {"source": {"model": source.name, "hash": content_hash(source)}, "made_by": made_by}
    now = {"format", "recipe", "recipe_hash", "versions", "machine", "date", "content"}
    facts = {name: value for name, value in record.to_values().items() if name not in now}
    return record.recipe, facts | {"made_by": facts["made_by"] | made_by}
