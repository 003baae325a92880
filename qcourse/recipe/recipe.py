"""The recipe: a transform, a method and its settings; validated, hashed, written as JSON."""

import fnmatch
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from qcourse.common import QCourseError

INTEGER_METHODS = ("rtn", "gptq")
METHODS = (
    *INTEGER_METHODS,
    "bf16",
    "nf4",
    "llm-int8",
    "w8a8-int8",
    "fp8-dynamic",
    "fp8-static",
    "fp8-block",
    "mxfp4",
    "nvfp4",
    "gguf",
)
TRANSFORMS = (None, "awq", "smoothquant", "rotation")
ACT_ORDERS = ("none", "static", "group-aware")
OVERRIDABLE = ("bits", "group_size", "symmetric", "skip")
GGUF_TYPES = (
    "F16 Q4_0 Q4_1 Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS "
    "IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16"
).split()
VARIANTS = {"nf4": ("", "single"), "gptq": ("", "gptaq"), "gguf": GGUF_TYPES}  # other methods have none


@dataclass(frozen=True)
class Recipe:
    """What to do to a model.

    method: how the codes of a linear are chosen; transform: the rewrite of the model before it.
    bits, group_size (-1: one scale a row), symmetric: the grid, where the method leaves a choice.
    desc_act: GPTQ visits columns by falling Hessian diagonal and stores g_idx; without it,
        act_order may be "none", "static" (scales fixed first) or "group-aware" (whole groups
        are permuted and the columns inside them), neither of which needs g_idx.
    activations: "dynamic" or "static" scales of w8a8-int8, and "static" those of fp8-static; alpha:
        smoothquant's strength; threshold: the magnitude from which llm-int8 keeps an input feature in
        16 bits.
    variant: the GGUF type for method "gguf", "single" for NF4 without double quantization, "gptaq" for GPTQ
        calibrated against the unquantized model's activations.
    overrides: pattern of linear names (fnmatch) -> some of bits, group_size, symmetric, skip;
        for the integer methods 16 bits mean the same as skip: the linear is kept.
    ignore: names of modules kept as they are. Only linears in decoder layers are ever touched.
    Raises QCourseError on construction for a value of the wrong type and for settings that contradict
    each other.
    """

    method: str
    transform: str | None = None
    bits: int = 4
    group_size: int = 128
    symmetric: bool = True
    desc_act: bool = False
    act_order: str = "static"
    activations: str = "dynamic"
    alpha: float = 0.5
    threshold: float = 6.0
    damping: float = 0.01
    variant: str = ""
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ("lm_head",)

    def __post_init__(self) -> None:
        from qcourse.recipe.rules import check

        check(self)
        object.__setattr__(self, "ignore", tuple(self.ignore))

    @property
    def name(self) -> str:
        """The name that `named` reads back, such as gptq-w4g128 or awq-w4g128-asym."""
        from qcourse.recipe.names import name_of

        return name_of(self)

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration tokens are needed to carry the recipe out."""
        static = self.method == "fp8-static" or (self.method == "w8a8-int8" and self.activations == "static")
        return self.method == "gptq" or self.transform in ("awq", "smoothquant") or static

    def for_layer(self, name: str) -> "Recipe | None":
        """Return the recipe for one linear after overrides (last match wins), or None where it is kept."""
        if any(fnmatch.fnmatch(name, f"*{pattern}*") for pattern in self.ignore):
            return None
        changes: dict[str, Any] = {}
        for pattern, values in self.overrides.items():
            if matches(name, pattern):
                changes |= values
        if changes.pop("skip", False) or (changes.get("bits") == 16 and self.method in INTEGER_METHODS):
            return None
        return replace(self, overrides={}, **changes)

    def to_json(self) -> str:
        """Return the recipe as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Return the recipe that `to_json` wrote; QCourseError for other text or unknown fields."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # beside JSONDecodeError: numbers of 5,000 digits
            raise QCourseError(f"the recipe is not JSON: {error}") from error
        return cls.from_values(values)

    @classmethod
    def from_values(cls, values: Any) -> "Recipe":
        """Return the recipe of a table as JSON holds it; QCourseError for other data or unknown fields."""
        if not isinstance(values, dict) or "method" not in values:
            raise QCourseError(
                'the recipe is not an object with a "method", such as {"method": "gptq", "bits": 4}'
            )
        if unknown := sorted(set(values) - {item.name for item in fields(cls)}):
            raise QCourseError(
                f"the recipe has unknown fields: {', '.join(unknown)}; "
                f"known are {', '.join(item.name for item in fields(cls))}"
            )
        return cls(**values)


def matches(name: str, pattern: str) -> bool:
    """Return whether an override's pattern means the linear of this full name; it may start at any dot."""
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*.{pattern}")
