"""The quality bar: every library is compared or its absence explained, one way of scoring, one rule."""

import pytest
import torch

from qcourse import measure, models, recipe
from qcourse.bench.quality import ours, run, texts, theirs
from qcourse.bench.quality.cases import CASES, PEERS
from qcourse.bench.quality.inputs import Inputs
from qcourse.bench.quality.score import Scorer
from qcourse.common import QCourseError
from qcourse.measure import Estimate
from tests.engines import require


@pytest.fixture(scope="module")
def base(small_folders):
    return models.load(small_folders["llama_tied"], dtype="float32")


@pytest.fixture(scope="module")
def scorer(base):
    tokens = torch.randint(5, 512, (4, 64), generator=torch.Generator().manual_seed(0))
    return Scorer(base, measure.EvaluationSet(tokens, "random", "small", 64))


def test_every_row_names_a_recipe_and_every_library_is_compared_or_explained():
    for case in CASES:
        assert case.family == "gguf" or recipe.named(case.name).bits == case.bits, case
        assert sorted([*case.peers, *case.reasons()]) == sorted(PEERS)
    compared = {peer for case in CASES for peer in case.peers}
    assert compared == set(PEERS)
    must_win = {case.name for case in CASES if case.must_win}
    assert {"gptq-w4g128", "gptq-w3g128", "awq-w4g128", "awq-w3g128"} <= must_win


def test_scores_are_the_divergence_of_the_weights_alone(base, scorer):
    same = scorer.score(base.model.state_dict())
    assert max(same["kl"]) < 1e-6
    weights = ours.recipe("rtn-w3g128", base.folder, torch.zeros(1))
    assert min(scorer.score(weights)["kl"]) > 0.01
    zeros = {"model.layers.0.mlp.down_proj.bias": torch.zeros(256)}
    assert scorer.score(base.model.state_dict() | zeros) == same


def test_scores_equal_the_yardstick(base, scorer):
    weights = ours.recipe("rtn-w3g128", base.folder, torch.zeros(1))
    other = models.load(base.folder, dtype="float32").model
    other.load_state_dict(weights)
    found = measure.divergence(base.model, other, scorer.evaluation).kl_mean
    assert run.mean(scorer.score(weights)["kl"]) == pytest.approx(found, rel=1e-4)


def test_weights_of_another_model_are_refused(scorer):
    for name in ("model.layers.9.mlp.up_proj.weight", "model.norm.weight"):
        with pytest.raises(QCourseError, match="not this model's"):
            scorer.score({name: torch.ones(256)})


def test_the_evaluation_set_adds_skills_where_prose_ends(base):
    everything = measure.evaluation_tokens(base.tokenizer, None, 512)
    prose, windows = texts.evaluation_set(base.tokenizer, 2000)
    assert prose.n_tokens >= 2000 and windows == len(prose.tokens) == 4
    more, windows = texts.evaluation_set(base.tokenizer, everything.n_tokens + 5000)
    assert windows == len(everything.tokens) and more.n_tokens >= everything.n_tokens + 5000
    assert torch.equal(more.tokens[:windows], everything.tokens)
    assert "What is" in base.tokenizer.decode(more.tokens[windows:].flatten())
    with pytest.raises(QCourseError, match="more windows of 512 tokens and the skills hold"):
        texts.evaluation_set(base.tokenizer, 10**7)


@pytest.mark.parametrize(
    ("estimate", "must_win", "expected"),
    [
        (Estimate(0.97, 0.95, 0.99), True, True),
        (Estimate(1.01, 0.99, 1.03), True, False),
        (Estimate(1.01, 0.99, 1.03), False, True),
        (Estimate(0.99, 0.9, 1.06), False, False),
    ],
)
def test_the_bar(estimate, must_win, expected):
    assert run.met(estimate, must_win) is expected


def test_our_blocks_take_the_types_of_llama_cpps_file(base, tmp_path):
    require("llama.cpp")
    require("gguf")
    bf16 = ours.bf16_gguf(models.load(base.folder), tmp_path / "bf16.gguf")
    case = next(case for case in CASES if case.name == "Q8_0")
    weights = ours.blocks(case, Inputs(base.folder, torch.randint(5, 512, (2, 64)), bf16))
    assert set(weights) <= set(base.model.state_dict())
    for name, weight in weights.items():
        difference = (weight - base.model.state_dict()[name]).abs().max()
        assert (difference == 0) == ("norm" in name) and difference < 0.05 * weight.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "peer", "name"),
    [
        ("bitsandbytes", "bitsandbytes", "nf4"),
        ("llmcompressor", "llm-compressor", "mxfp4"),
        ("llama.cpp", "llama.cpp", "Q4_0"),
    ],
)
def test_a_library_is_read_and_scored_like_ours(engine, peer, name, base, scorer, tmp_path):
    require(engine)
    tokens = torch.randint(5, 512, (2, 64), generator=torch.Generator().manual_seed(1))
    bf16 = ours.bf16_gguf(models.load(base.folder), tmp_path / "bf16.gguf")
    case = next(case for case in CASES if case.name == name)
    inputs = Inputs(base.folder, tokens, bf16)
    other = run.mean(scorer.score(theirs.weights(peer, case, inputs))["kl"])
    mine = run.mean(scorer.score(ours.weights(case, inputs))["kl"])
    assert mine == pytest.approx(other, rel=0.05) and other > 0.005
