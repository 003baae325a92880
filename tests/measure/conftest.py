"""Small models and tokens that the tests of the yardstick share."""

import pytest
import torch

from qcourse import models
from tests.small_models import write_small_model


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """A two-layer Llama folder with a tokenizer of 512 entries and a chat template."""
    return write_small_model(tmp_path_factory.mktemp("measure") / "small", "llama_tied")


@pytest.fixture(scope="session")
def exact(small_folder):
    """The small model in float32."""
    return models.load(small_folder, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def rounded(small_folder):
    """The small model in bf16."""
    return models.load(small_folder, device="cpu")


@pytest.fixture(scope="session")
def tokens():
    """Six windows of 32 random token ids."""
    return torch.randint(5, 512, (6, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep every test's cached results apart."""
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "cache"))


class Fixed:
    """A logit source that returns given logits and counts how often it was asked."""

    engine, hash, model_hash, dtype = "fixed", "f1xed", None, "float32"
    threads, vocabulary, versions, process_ids = None, None, {}, ()

    def __init__(self, logits):
        self.table, self.asked = logits, 0

    def logits(self, tokens):
        """Return a row of the table for every token."""
        self.asked += 1
        return self.table[tokens]

    def latency(self, batch, prompt_tokens, new_tokens, repeats=3):
        """Return made-up times."""
        from qcourse.measure import Latency

        return Latency.of(batch, prompt_tokens, new_tokens, 0.5, 0.01)


@pytest.fixture
def fixed():
    """The class of logit sources with a fixed table."""
    return Fixed
