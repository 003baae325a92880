"""Our weights for each row of the quality table: a recipe carried out, or our block quantizers."""

from pathlib import Path
from typing import Any

from torch import Tensor

from qcourse.bench.quality.cases import Case
from qcourse.bench.quality.inputs import Inputs


def weights(case: Case, inputs: Inputs) -> dict[str, Tensor]:
    """Return the dense weights of our recipe (or of our block quantizers), float32 by name."""
    return blocks(case, inputs) if case.family == "gguf" else recipe(case.name, inputs.folder, inputs.tokens)


def recipe(name: str, folder: Path, tokens: Tensor) -> dict[str, Tensor]:
    """Return every weight after a recipe was carried out on the model in bf16, exactly as the codes say."""
    from qcourse import models
    from qcourse.pipeline import quantized
    from qcourse.quantize import reference

    return reference(quantized(models.load(folder), name, tokens)).state_dict()


def blocks(case: Case, inputs: Inputs) -> dict[str, Tensor]:
    """Return our block quantizers' weights, each tensor in the type that llama.cpp gave it in its file.

    The importance matrix is the same, mean x**2 of each column; tensors without one (embeddings) have none.
    """
    import tempfile

    from qcourse.export import gguf
    from qcourse.numerics import llamacpp

    kind = case.peers["llama.cpp"]["kind"]
    matrix = inputs.importance
    with tempfile.TemporaryDirectory() as place:
        types = types_by_name(gguf.quantize(inputs.bf16, Path(place) / "theirs.gguf", kind, matrix))
    found = {}
    for name, weight in gguf.read(inputs.bf16).items():
        if types[name] in llamacpp.FORMATS:
            column = matrix.get(name.removesuffix(".weight"))
            weight = llamacpp.dequantize(llamacpp.quantize(weight, types[name], column), types[name])
        found[name] = weight
    return found


def types_by_name(path: Path) -> dict[str, str]:
    """Return transformers' name -> type of each tensor in a GGUF file; F32 and unknown types included."""
    from qcourse.gguf_reader.names import hf_names
    from qcourse.gguf_reader.read import _open, field, tensor_types

    reader, types = _open(path), tensor_types(path)
    arch = field(reader, "general.architecture")
    names = hf_names(arch, field(reader, f"{arch}.block_count"), list(types))
    return {names[stored]: kind for stored, (kind, _) in types.items() if stored in names}


def bf16_gguf(base: Any, path: Path) -> Path:
    """Write the model in 16 bits for llama.cpp, once."""
    from qcourse.export import gguf

    return path if path.exists() else gguf.write(base.model, base.tokenizer, path)
