"""Rotation: turn the residual stream by an orthogonal matrix, so that no channel is an outlier any more."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from qcourse.common import QCourseError
from qcourse.common.layouts import layout
from qcourse.transforms.fold import links


@torch.no_grad()
def rotate(model: Any, seed: int = 0) -> None:
    """Rotate residual stream and value heads of a model in place, its function unchanged.

    Norm weights are first folded into the linears after them, because only a norm without weights commutes
    with a rotation. Tied embeddings are untied: input and output table then differ by the last norm.
    Computed in float64, stored in the model's dtype. Raises QCourseError as `check_norms` does.
    Source: Ashkboos et al. 2024 (arXiv 2404.00456, QuaRot), section 4, stages 1a and 1b.
    """
    check_norms(model.config)
    untie(model)
    turn = rotation_matrix(model.config.hidden_size, seed).to(model.device)
    absorb_norm(model.model.norm, [model.lm_head])
    set_weight(model.model.embed_tokens, model.model.embed_tokens.weight.double() @ turn)
    set_weight(model.lm_head, model.lm_head.weight.double() @ turn)
    for layer in model.model.layers:
        rotate_layer(layer, turn)


def check_norms(config: Any) -> None:
    """Raise QCourseError for norms that do not commute with a rotation.

    After attention or MLP a norm's weight stands between it and the stream; LayerNorm takes a mean away.
    """
    if layout(config).eps != "rms_norm_eps":
        raise QCourseError(
            f"rotation does not pass the LayerNorm of {config.model_type}, which takes a mean away; "
            "take another transform, or none"
        )
    if any(layout(config).norms[1::2]):
        raise QCourseError(
            f"rotation does not pass the norms after attention and MLP of {config.model_type}; "
            "take another transform, or none"
        )


def rotate_layer(layer: Any, turn: Tensor) -> None:
    """Rotate what a decoder layer reads and writes, and each value head against o_proj."""
    attention, mlp = layer.self_attn, layer.mlp
    for link in links(layer)[::2]:
        readers = [layer.get_submodule(name) for name in link.consumers]
        absorb_norm(layer.get_submodule(link.producer), readers)
        for module in readers:
            set_weight(module, module.weight.double() @ turn)
    for module in (attention.o_proj, mlp.down_proj):
        set_weight(module, turn.T @ module.weight.double())
        if module.bias is not None:
            module.bias.data.copy_(module.bias.double() @ turn)
    head, values = rotation_matrix(attention.head_dim, seed=1).to(turn.device), links(layer)[1]
    rotate_heads(layer.get_submodule(values.producer), attention.o_proj, head, values.rows)


def rotate_heads(producer: nn.Linear, output: nn.Linear, head: Tensor, rows: int) -> None:
    """Rotate the `rows` of a linear that make values, its last, and the columns of o_proj that read them.

    head: [size, size], the same turn for every head.
    """
    size = len(head)
    values = producer.weight.data[-rows:]
    values.copy_(torch.einsum("hdi,de->hei", values.double().unflatten(0, (-1, size)), head).flatten(0, 1))
    if producer.bias is not None:
        bias = producer.bias.data[-rows:]
        bias.copy_((bias.double().unflatten(0, (-1, size)) @ head).flatten())
    columns = output.weight.double().unflatten(1, (-1, size))
    set_weight(output, (columns @ head).flatten(1))


def absorb_norm(norm: Any, readers: list[nn.Linear]) -> None:
    """Multiply a norm's weight into the columns of the linears that read it, and set it to one."""
    for module in readers:
        set_weight(module, module.weight.double() * norm.weight.double())
    norm.weight.data.fill_(1)


def set_weight(module: Any, value: Tensor) -> None:
    """Store a weight in the module's own dtype."""
    module.weight.data.copy_(value)


def untie(model: Any) -> None:
    """Give the output head its own table when it shares the input embedding's."""
    if model.lm_head.weight is model.model.embed_tokens.weight:
        model.lm_head.weight = nn.Parameter(
            model.model.embed_tokens.weight.detach().clone(), requires_grad=False
        )
    model.config.tie_word_embeddings = False


def rotation_matrix(size: int, seed: int = 0) -> Tensor:
    """Return an orthogonal float64 matrix [size, size]: Hadamard with random signs.

    For size 2**k * m with m odd: a Hadamard matrix of 2**k times a random orthogonal one of m.

    Every entry has magnitude size**-0.5 when size is a power of two: an outlier is spread evenly.
    """
    generator = torch.Generator().manual_seed(seed)
    odd = size // (size & -size)
    basis = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(int(math.log2(size // odd))):
        basis = torch.cat([torch.cat([basis, basis], 1), torch.cat([basis, -basis], 1)]) / math.sqrt(2)
    if odd > 1:
        random = torch.randn(odd, odd, dtype=torch.float64, generator=generator)
        basis = torch.kron(basis, torch.linalg.qr(random)[0].contiguous())
    signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
    return signs[:, None] * basis
