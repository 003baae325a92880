"""A GPTQ file whose widths differ from layer to layer, in GPTQModel: transformers' reader knows one width."""

import pytest
import torch

from tests.engines import require

pytestmark = pytest.mark.slow


def test_gptqmodel_computes_what_we_compute_in_mixed_widths(judge, artefact, reference_logits):
    """In bfloat16: the library's plain kernel has 16 bits only, and float16 is ten times slower on a CPU."""
    require("gptqmodel", "gptq mixed widths")
    from gptqmodel import BACKEND, GPTQModel

    folder = str(artefact("gptq mixed widths").folder)
    engine = GPTQModel.load(folder, backend=BACKEND.TORCH, device="cpu", dtype=torch.bfloat16).model
    assert judge.verdict(reference_logits("gptq mixed widths"), judge.logits(engine)).passed
