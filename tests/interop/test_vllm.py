"""Our files, and those of AutoGPTQ and AutoAWQ, in vLLM over HTTP: one server for each artefact."""

import subprocess

import pytest

from qcourse import serve
from qcourse.common.machine import saturates_int8
from qcourse.serve.vllm_install import find_vllm
from tests.engines import require, require_avx512, require_vnni
from tests.interop.artefacts import without_activations

pytestmark = pytest.mark.slow


def served(folder, judge, dtype="bfloat16"):
    """Return vLLM's log-probabilities [B, T, V] on the judge's tokens."""
    with serve.vllm(folder, max_model_len=512, dtype=dtype, progress=False) as server:
        return server.logits(judge.tokens)


FORMS = [pytest.param("gptq", marks=pytest.mark.engine), "awq", "w4a16", "w4a16 asymmetric"]


@pytest.mark.parametrize("form", FORMS)
def test_vllm_computes_what_we_compute(form, judge, artefact, reference_logits):
    require_avx512("4-bit weights", form)
    assert judge.verdict(reference_logits(form), served(artefact(form).folder, judge)).passed


def test_vllm_quantizes_the_activations_of_w8a8(short_judge, artefact):
    """In float32, because bfloat16 alone moves pico by more than int8 does."""
    require_vnni("w8a8 int8")
    wanted = short_judge.logits(artefact("w8a8 int8").reference())
    engine = served(artefact("w8a8 int8").folder, short_judge, "float32")
    assert short_judge.verdict(wanted, engine).passed
    lazy = short_judge.logits(without_activations(artefact("w8a8 int8").reference()))
    assert not short_judge.verdict(lazy, engine).passed


SUM_OF_ONES = """
import torch
from vllm import _custom_ops as ops
from vllm.platforms import current_platform
current_platform.import_kernels()
codes = torch.full((16, 256), 127, dtype=torch.int8).T
scales = torch.full((16, 1), 1 / 127)
product = ops.create_onednn_scaled_mm(codes, scales, torch.float32, True, False, 32)
rows, scale, _ = ops.onednn_scaled_int8_quant(torch.ones(4, 256), None, None, True)
result = torch.empty(4, 16)
ops.onednn_scaled_mm(product, rows, result, scale, None, None, None)
print("SUM", float(result.mean()))
"""


def test_int8_sums_are_cut_off_where_we_say_so():
    """256 ones: oneDNN adds pairs of products in 16 bits on a CPU without VNNI, and 2 comes out."""
    engine = require("vllm", "w8a8 int8")
    if not find_vllm().cpu:
        pytest.skip("the arithmetic judged here is that of vLLM's CPU kernels")
    done = subprocess.run([engine.python, "-c", SUM_OF_ONES], capture_output=True, text=True, check=True)
    found = float(done.stdout.split("SUM")[1])
    assert found == pytest.approx(2.02, abs=0.1) if saturates_int8() else found == pytest.approx(256, abs=0.1)


@pytest.mark.parametrize("library", ["autogptq", "autoawq"])
def test_vllm_loads_what_the_archived_libraries_wrote(library, peer, peer_judge, peer_reference):
    require_avx512("4-bit weights", library)
    assert peer_judge.verdict(peer_reference(library), served(peer(library), peer_judge)).passed
