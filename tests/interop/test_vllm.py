"""Our files, and those of AutoGPTQ and AutoAWQ, in vLLM over HTTP: one server for each artefact."""

import pytest

from qcourse import serve
from tests.engines import require, require_avx512
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
    require("vllm", "w8a8 int8")
    wanted = short_judge.logits(artefact("w8a8 int8").reference())
    engine = served(artefact("w8a8 int8").folder, short_judge, "float32")
    assert short_judge.verdict(wanted, engine).passed
    lazy = short_judge.logits(without_activations(artefact("w8a8 int8").reference()))
    assert not short_judge.verdict(lazy, engine).passed


@pytest.mark.parametrize("library", ["autogptq", "autoawq"])
def test_vllm_loads_what_the_archived_libraries_wrote(library, peer, peer_judge, peer_reference):
    require_avx512("4-bit weights", library)
    assert peer_judge.verdict(peer_reference(library), served(peer(library), peer_judge)).passed
