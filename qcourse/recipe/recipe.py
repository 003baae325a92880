"""The recipe: a transform, a method and its settings; validated, named, hashed, written as JSON."""

import fnmatch
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from qcourse.common import QCourseError
from qcourse.recipe.names import name_of, settings_of
from qcourse.recipe.overrides import kept, matches
from qcourse.recipe.rules import check
from qcourse.recipe.vocabulary import METHODS


@dataclass(frozen=True)
class Recipe:
    """What to do to a model.

    method: how the codes of a linear are chosen; transform: the rewrite of the model before it.
    bits, group_size (-1: one scale a row; None: the largest usual one that fits the model), symmetric: the
        grid, where the method leaves a choice.
    desc_act: GPTQ visits columns by falling Hessian diagonal and stores g_idx; without it,
        act_order may be "none", "static" (scales fixed first) or "group-aware" (whole groups
        are permuted and the columns inside them), neither of which needs g_idx.
    activations: "dynamic" or "static" scales of w8a8-int8, and "static" those of fp8-static; alpha:
        smoothquant's strength; threshold: the magnitude from which llm-int8 keeps an input feature in
        16 bits.
    variant: the GGUF type for method "gguf", "single" for NF4 without double quantization, "gptaq" for GPTQ
        calibrated against the unquantized model's activations. Controls leave a part out: "nosearch" (of
        ranges) and "nofeedback" of GPTQ, "noclip" and "noscale" of AWQ.
    overrides: pattern of linear names (fnmatch) -> some of bits (16: kept), group_size, symmetric, skip.
    ignore: names of modules kept as they are. Only linears in decoder layers are ever touched.
    Raises QCourseError on construction for a value of the wrong type and for settings that contradict
    each other.
    """

    method: str
    transform: str | None = None
    bits: int = 4
    group_size: int | None = 128
    symmetric: bool = True
    desc_act: bool = False
    act_order: str = "static"
    activations: str = "dynamic"
    alpha: float = 0.5
    threshold: float = 6.0
    damping: float = 0.01
    variant: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    ignore: tuple[str, ...] = ("lm_head",)

    def __post_init__(self) -> None:
        check(self, {item.name: item.type for item in fields(self)})
        object.__setattr__(self, "ignore", tuple(self.ignore))  # JSON has a list

    @property
    def name(self) -> str:
        """The name that `named` reads back, such as gptq-w4g128 or awq-w4g128."""
        return name_of(vars(self), DEFAULTS, self.hash[:6])

    @property
    def hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration tokens are needed to carry the recipe out."""
        static = self.activations == "static"
        return METHODS[self.method].calibrated or self.transform in ("awq", "smoothquant") or static

    def for_layer(self, name: str) -> "Recipe | None":
        """Return the recipe for one linear after overrides (last match wins), or None where it is kept."""
        if any(fnmatch.fnmatch(name, f"*{pattern}*") for pattern in self.ignore):
            return None
        changes: dict[str, Any] = {}
        for pattern, values in self.overrides.items():
            if matches(name, pattern):
                changes |= values
        if changes.pop("skip", False) or kept("bits", changes.get("bits")):
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
        """Return the recipe of plain values, as JSON or YAML give them; QCourseError for any other."""
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


DEFAULTS = vars(Recipe("rtn"))


def named(name: str) -> Recipe:
    """Return the recipe of a name, as `settings_of` reads it; QCourseError for an unknown name or type."""
    return Recipe(**settings_of(name))
