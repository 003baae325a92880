"""What is compared, from data/bench_quality.yaml: each format, the libraries that have it, why others not."""

from dataclasses import dataclass, field
from typing import Any

from qcourse.common.tables import data_table
from qcourse.common.validation import read_as


@dataclass(frozen=True)
class Case:
    """One row: a format, our recipe (or llama.cpp's file type), and the settings of each peer that has it.

    must_win: the bar asks for a point estimate below 1, not only for an interval that ends by 1.05.
    """

    name: str
    bits: int
    family: str
    peers: dict[str, dict[str, Any]]
    must_win: bool = False
    missing: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> dict[str, str]:
        """Return, for each library that is not compared here, why not."""
        return {peer: self.missing.get(peer) or WHY_NOT[peer] for peer in PEERS if peer not in self.peers}


WHY_NOT = data_table("bench_quality.yaml")["why_not"]
PEERS = tuple(WHY_NOT)
CASES = tuple(read_as(Case, row, row["name"]) for row in data_table("bench_quality.yaml")["rows"])
