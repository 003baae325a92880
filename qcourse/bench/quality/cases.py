"""What is compared: each format with our recipe, the libraries that have it, and why the others do not."""

from dataclasses import dataclass, field
from typing import Any

PEERS = ("GPTQModel", "AutoGPTQ", "AutoAWQ", "llm-compressor", "llama.cpp", "bitsandbytes")


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


WHY_NOT = {
    "GPTQModel": "writes integer formats of GPTQ and AWQ only",
    "AutoGPTQ": "writes GPTQ only, and is archived",
    "AutoAWQ": "writes 4-bit AWQ only, and is archived",
    "llm-compressor": "writes compressed-tensors only, which has no such blocks",
    "llama.cpp": "writes its own block formats only",
    "bitsandbytes": "has NF4, FP4 and int8 only, rounded without calibration",
}


def gptq(bits: int) -> Case:
    """Return the row of GPTQ, symmetric, groups of 128, no g_idx."""
    grid = {"bits": bits}
    peers = {"GPTQModel": grid, "AutoGPTQ": grid, "llm-compressor": grid | {"method": "gptq"}}
    return Case(f"gptq-w{bits}g128", bits, "gptq", peers, bits in (3, 4))


def desc_act() -> Case:
    """Return the row of 4-bit GPTQ with groups formed in order of importance (g_idx stored)."""
    grid = {"bits": 4, "desc_act": True}
    why = "compressed-tensors 0.19 has no g_idx: its act order is the row without -act"
    return Case("gptq-w4g128-act", 4, "gptq", {"GPTQModel": grid, "AutoGPTQ": grid}, True,
                {"llm-compressor": why})  # fmt: skip


def awq(bits: int) -> Case:
    """Return the row of AWQ, asymmetric, groups of 128."""
    peers = {"AutoAWQ": {"bits": bits}, "llm-compressor": {"bits": bits, "method": "awq"}}
    missing = {"GPTQModel": "has AutoAWQ's search for 4-bit files; AutoAWQ itself is run instead"}
    return Case(f"awq-w{bits}g128", bits, "awq", peers, True, missing)


def preset(name: str, bits: int, scheme: str) -> Case:
    """Return a row of plain rounding by one of llm-compressor's named schemes.

    Scales are the same, codes are not (of pico's, 3% in FP8 and 8% in int8): it divides weight by scale in
    the model's bfloat16, we in float32. tests/interop/test_peers.py derives its codes exactly.
    """
    return Case(name, bits, "rounding", {"llm-compressor": {"method": "rtn", "scheme": scheme}})


def bitsandbytes(name: str, bits: int, **settings: Any) -> Case:
    """Return a row of bitsandbytes."""
    return Case(name, bits, "bitsandbytes", {"bitsandbytes": settings})


def blocks(kind: str, bits: int) -> Case:
    """Return a row of a llama.cpp file type: our block quantizers against its own, one importance matrix."""
    return Case(kind, bits, "gguf", {"llama.cpp": {"kind": kind}})


CASES = (
    *map(gptq, (4, 3, 2, 8)), desc_act(), *map(awq, (4, 3)),
    preset("w8a8-int8", 8, "W8A8"), preset("fp8-dynamic", 8, "FP8_DYNAMIC"),
    preset("fp8-block", 8, "FP8_BLOCK"),
    preset("mxfp4", 4, "MXFP4A16"), preset("nvfp4", 4, "NVFP4A16"),
    bitsandbytes("nf4", 4, double=True), bitsandbytes("nf4-single", 4, double=False),
    bitsandbytes("llm-int8", 8, int8=True),
    blocks("Q8_0", 8), blocks("Q6_K", 6), blocks("Q5_0", 5),
    blocks("Q4_K_M", 4), blocks("Q4_0", 4), blocks("IQ4_NL", 4),
)  # fmt: skip
