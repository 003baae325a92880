"""AutoRound checkpoints: tensors as GPTQ or AWQ packs them, said by `packing_format` of config.json.

Source: AutoRound's export_to_autoround and its inference (convert_model), 0.15.
"""

from typing import Any

from qcourse.common import QCourseError

LAYOUTS = {
    "auto_gptq": ("gptq", "gptq"), "gptq": ("gptq", "gptq"), "auto": ("gptq", "gptq"),
    "auto_round": ("gptq", "gptq_v2"), "gptqmodel": ("gptq", "gptq_v2"),
    "auto_awq": ("awq", "gemm"), "awq": ("awq", "gemm"),
}  # fmt: skip
"""The last part of packing_format: the method whose layout it is, and the version of that layout."""


def as_packed(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the quantization_config of an AutoRound checkpoint as one of the layout it is packed in.

    Layers of other widths (`extra_config`) become GPTQ's `dynamic`; those of 16 bits hold no codes.
    Raises QCourseError for another layout, quantized activations, or values that are no integers.
    """
    packing = str(settings.get("packing_format") or "auto_round:auto_gptq").split(":")[-1]
    kind, act_bits = settings.get("data_type", "int"), settings.get("act_bits") or 16
    if packing not in LAYOUTS or kind != "int" or act_bits < 16:
        raise QCourseError(
            f"this AutoRound checkpoint holds {kind!r} weights, laid out as {packing!r}, for activations of "
            f"{act_bits} bits; read are 'int' for 16 bits, laid out as {', '.join(LAYOUTS)}"
        )
    method, version = LAYOUTS[packing]
    own = {f"+:{name}$": changes for name, changes in (settings.get("extra_config") or {}).items()}
    if method == "awq":
        return settings | {"quant_method": "awq", "version": version}
    return settings | {"quant_method": "gptq", "checkpoint_format": version, "dynamic": own}
