"""The record of an artefact, recipe.json: how it was made, each fact once, and read back by one function."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_serializer, field_validator

from qcourse.common import QCourseError, content_hash, record_path, write_json
from qcourse.common.provenance import arithmetic, versions
from qcourse.common.validation import read_as
from qcourse.recipe.recipe import Recipe


class Fact(BaseModel):
    """A part of a record: what is not a field of it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Source(Fact):
    """The model that was quantized: its name without this machine's folders, the hash of its content."""

    model: str
    hash: str
    revision: str | None = None


class CalibrationText(Fact):
    """The calibration text: its name, hub revision, windows of it, the seed that drew them, their hash.

    all_experts: whether every expert of a mixture was calibrated on every token, or on those sent to it.
    """

    name: str = ""
    revision: str | None = None
    sequences: int = 0
    seq_len: int = 0
    seed: int | None = None
    sha256: str = ""
    all_experts: bool = False


class Record(Fact):
    """How an artefact was made.

    recipe: None for a checkpoint that no recipe describes; recipe_hash: over its every field.
    transforms, layers, kept: what became of each decoder layer and linear, and which were kept in 16 bits.
    made_by: what decided the artefact beside the recipe (a library and its script, settings of a training).
    content: `content_hash` of the artefact itself, by which `ship` notices a changed byte; "" of older ones.
    """

    format: str
    recipe: Recipe | None
    recipe_hash: str = ""
    source: Source | None = None
    calibration: CalibrationText | None = None
    dtype: str = ""
    device: str = ""
    transforms: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    kept: list[str] = []
    made_by: dict[str, Any] = {}
    kv_cache: dict[str, Any] | None = None
    versions: dict[str, str]
    machine: dict[str, Any]
    date: str
    content: str = ""

    @field_validator("recipe", mode="before")
    @classmethod
    def checked(cls, value: Any) -> Recipe | None:
        """Read the recipe by its own rules."""
        return Recipe.from_values(value) if isinstance(value, dict) else value

    @field_serializer("recipe")
    def plain(self, value: Recipe | None) -> Any:
        """Write the recipe as its own JSON has it."""
        return None if value is None else json.loads(value.to_json())

    @property
    def name(self) -> str:
        """The recipe's name, "" without one."""
        return self.recipe.name if self.recipe else ""

    def to_values(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return self.model_dump(mode="json")


def new_record(recipe: Recipe | None, format: str, facts: dict[str, Any]) -> Record:
    """Return the record of an artefact that is made now and here.

    facts: fields of a record as plain values, such as the manifest of `quantize`; its seconds are left out.
    The same facts give the same record on the same day, machine and versions.
    """
    made = {key: value for key, value in facts.items() if key != "seconds"}
    here = {"versions": versions(), "machine": arithmetic(), "date": date.today().isoformat()}
    values = {"format": format, "recipe": recipe, "recipe_hash": recipe.hash if recipe else ""}
    return read_as(Record, {**values, **made, **here}, "the record")


def write_record(artefact: Path | str, record: Record) -> None:
    """Write the record of an artefact that is there, with its hash: in its folder, or FILE.recipe.json."""
    write_json(record_path(artefact), record.to_values() | {"content": content_hash(artefact)})


def read_record(artefact: Path | str) -> Record:
    """Return the record of an artefact: recipe.json in its folder, or FILE.recipe.json beside a GGUF file.

    Raises QCourseError if there is none, and for one that is damaged or of an earlier version.
    """
    record = find_record(artefact)
    if record is None:
        raise QCourseError(f"{artefact} has no {record_path(artefact).name}; it was not written by qcourse")
    return record


def find_record(artefact: Path | str) -> Record | None:
    """Return the record of an artefact, None where there is none or the file of its name is not ours.

    Raises QCourseError for a record of ours that is damaged or of an earlier version.
    """
    path = record_path(artefact)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError:
        raise QCourseError(f"{path} is not JSON; write the artefact again") from None
    if not isinstance(values, dict) or not {"recipe", "format", "versions"} <= values.keys():
        return None
    if "manifest" in values:
        raise QCourseError(f"{path} is of an earlier version of qcourse; write the artefact again")
    return read_as(Record, values, f"{path} is no record of qcourse")
