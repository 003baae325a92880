"""Tensor parallelism: what each device holds, and what cannot be split."""

from qcourse.common import QCourseError
from qcourse.models import ModelShape
from qcourse.recipe import Recipe


def check_split(shape: ModelShape, recipe: Recipe | None, devices: int) -> None:
    """Raise QCourseError, with the arithmetic, where `devices` devices cannot share the model.

    Heads are dealt out whole. Output and down projections are cut along their columns, and a cut
    must not go through a quantization group (vLLM refuses the same).
    """
    if devices < 1:
        raise QCourseError(f"tensor parallelism needs at least 1 device, not {devices}")
    if shape.heads % devices:
        raise QCourseError(f"{shape.heads} attention heads cannot be dealt to {devices} devices: "
                           f"{shape.heads} / {devices} = {shape.heads / devices:g}")  # fmt: skip
    if shape.kv_heads % devices and devices % shape.kv_heads:
        raise QCourseError(f"{shape.kv_heads} key-value heads are neither a multiple nor a divisor "
                           f"of {devices} devices")  # fmt: skip
    group = recipe.group_size if recipe else 0
    for one in shape.linears:
        if one.rows != shape.hidden or devices == 1:
            continue
        share = one.columns / devices
        if share % max(group or 1, 1):
            cut = f"{one.columns} columns in groups of {group}" if group > 0 else f"{one.columns} columns"
            raise QCourseError(f"{cut} on {devices} devices: {share:g} columns each, which is no whole "
                               f"number of {'groups' if group > 0 else 'columns'}")  # fmt: skip


def kv_share(shape: ModelShape, devices: int) -> float:
    """Return the part of the KV cache that each device holds; a latent cache is kept whole on each."""
    latent = shape.model_type in ("deepseek_v2", "deepseek_v3", "kimi_k2")
    return 1.0 if latent else 1 / min(devices, shape.kv_heads)
