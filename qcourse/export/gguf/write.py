"""A transformers model as a GGUF file, in the 16 bits it has, for llama.cpp to run or to quantize."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError, atomic_path, record_path
from qcourse.common.layouts import layout
from qcourse.export.exact import is_exact
from qcourse.export.folder import check_room, dense_tensors, disk_error
from qcourse.export.gguf.attention import add_attention, check_attention
from qcourse.export.gguf.rope import add_rope, head_dim, rotary_factors
from qcourse.export.gguf.tokenizer import add_tokenizer
from qcourse.gguf_reader.names import EXPERT, PAIRED, ROTARY, gguf_name, is_norm, name_map, permute_rotary
from qcourse.recipe import Recipe
from qcourse.recipe.record import new_record, write_record

HEADED = ("olmo2", "stablelm")  # llama.cpp takes no model of these whose head is its embedding
ROUTER = "ffn_gate_inp.weight"


def write(
    model: nn.Module,
    tokenizer: Any,
    path: Path | str,
    recipe: Recipe | None = None,
    manifest: dict[str, Any] | None = None,
) -> Path:
    """Write a model of the table of layouts and its tokenizer as GGUF; return the path.

    Matrices are stored as BF16 (F16 or F32 where BF16 would round them), norms
    and biases as F32. With a recipe or a manifest, a record is written beside
    the file, as PATH.recipe.json. The same model gives the same bytes. Raises
    QCourseError for another architecture, tokenizer or rotary scaling, for
    attention that llama.cpp computes otherwise, and for a full disk.
    """
    path = Path(path)
    arch = layout(model.config).gguf
    tensors = stacked(dense_tensors(model, set()))
    if arch in HEADED:
        tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    check_attention(model.config)
    check_experts(model.config)
    check_room(path, sum(4 * tensor.numel() for tensor in tensors.values()))
    try:
        with atomic_path(path) as temporary:
            _write(temporary, arch, model.config, tensors, tokenizer)
            record_path(path).unlink(missing_ok=True)  # it tells of the file that is replaced now
    except Exception as error:
        raise disk_error(path, error) from error
    if recipe is not None or manifest is not None:
        write_record(path, new_record(recipe, "gguf", manifest or {}))
    return path


def _write(path: Path, arch: str, config: Any, tensors: dict[str, Tensor], tokenizer: Any) -> None:
    import gguf

    matrices = [tensor for tensor in tensors.values() if tensor.dim() > 1]
    kind = storage_type(matrices)
    writer = gguf.GGUFWriter(path, arch)
    try:
        writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")])
        add_shape(writer, config)
        add_tokenizer(writer, tokenizer, config.vocab_size)
        names = name_map(arch, config.num_hidden_layers)
        for name, tensor in (rotary_factors(config) | tensors).items():
            stored = name if name == "rope_freqs.weight" else gguf_name(name, names)
            add_tensor(writer, stored, for_llama_cpp(arch, config, stored, tensor), kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def stacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with those of a layer's experts as one, [experts, rows, columns], of no number."""
    found: dict[str, Any] = {}
    for name in sorted(tensors, key=lambda name: int((EXPERT.search(name) or [0, -1])[1])):
        if EXPERT.search(name):
            found.setdefault(EXPERT.sub("", name), []).append(tensors[name])
        else:
            found[name] = tensors[name]
    return {name: torch.stack(one) if isinstance(one, list) else one for name, one in found.items()}


def check_experts(config: Any) -> None:
    """Raise QCourseError for a mixture that llama.cpp computes otherwise, whatever the file says."""
    dense = getattr(config, "mlp_only_layers", None) or getattr(config, "decoder_sparse_step", 1) != 1
    if config.model_type == "qwen3_moe" and (dense or not config.norm_topk_prob):
        raise QCourseError(
            "llama.cpp's qwen3moe has experts in every layer, whose shares sum to one: a model with "
            "mlp_only_layers, decoder_sparse_step or without norm_topk_prob is not written to GGUF"
        )


def storage_type(matrices: list[Tensor]) -> str:
    """Return the first of BF16, F16 and F32 that holds every value of the matrices unchanged."""
    for kind, dtype in (("BF16", torch.bfloat16), ("F16", torch.float16)):
        if all(is_exact(matrix, dtype) for matrix in matrices):
            return kind
    return "F32"


def for_llama_cpp(arch: str, config: Any, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as llama.cpp has it: q and k permuted for PAIRED, Gemma's norms with 1 added."""
    if is_norm(name):
        return tensor.float() + layout(config).norm_offset
    match = ROTARY.fullmatch(name)
    if arch not in PAIRED or match is None:
        return tensor
    heads = config.num_attention_heads if match[1].endswith("q") else config.num_key_value_heads
    return permute_rotary(tensor, heads)


def add_tensor(writer: Any, name: str, tensor: Tensor, kind: str) -> None:
    """Add one tensor: a matrix as `kind`, a vector or a router as F32, as llama.cpp's own converter does."""
    import gguf

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dim() == 1 or kind == "F32" or name.endswith(ROUTER):
        writer.add_tensor(name, tensor.float().numpy())
    elif kind == "F16":
        writer.add_tensor(name, tensor.half().numpy())
    else:
        raw = tensor.to(torch.bfloat16).view(torch.uint8).numpy()
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)


def add_shape(writer: Any, config: Any) -> None:
    """Write the numbers that llama.cpp builds the network from."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    name = layout(config).eps
    add_eps = writer.add_layer_norm_rms_eps if name == "rms_norm_eps" else writer.add_layer_norm_eps
    add_eps(getattr(config, name))
    writer.add_vocab_size(config.vocab_size)
    if layout(config).experts:
        writer.add_expert_count(getattr(config, "num_experts", None) or config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(
            getattr(config, "moe_intermediate_size", config.intermediate_size)
        )
    add_rope(writer, config)
    add_attention(writer, config)
