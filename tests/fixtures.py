"""Small model folders and token batches that every test may use; tests/conftest.py publishes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.small_models import SMALL, write_small_model


@pytest.fixture(scope="session")
def small_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All small model folders by name."""
    root = tmp_path_factory.mktemp("models")
    return {name: write_small_model(root / name, name) for name in SMALL}


@pytest.fixture(scope="session")
def llama_tied(small_folders: dict[str, Path]) -> Path:
    return small_folders["llama_tied"]


@pytest.fixture(scope="session")
def llama_gqa(small_folders: dict[str, Path]) -> Path:
    return small_folders["llama_gqa"]


@pytest.fixture(scope="session")
def qwen2(small_folders: dict[str, Path]) -> Path:
    return small_folders["qwen2"]


@pytest.fixture(scope="session")
def qwen3(small_folders: dict[str, Path]) -> Path:
    return small_folders["qwen3"]


@pytest.fixture(scope="session")
def odd_width(small_folders: dict[str, Path]) -> Path:
    return small_folders["odd_width"]


@pytest.fixture(scope="session")
def small_tokens() -> torch.Tensor:
    return torch.randint(0, 512, (8, 64), generator=torch.Generator().manual_seed(7))


@pytest.fixture
def small_model() -> Callable:
    """Return a function (folder, dtype=torch.float32) -> a freshly loaded model on the CPU, in eval mode."""
    from transformers import AutoModelForCausalLM

    from qcourse.models.attention import settle_attention
    from qcourse.models.products import widen

    def load(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        model = widen(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())
        settle_attention(model.config)
        return model

    return load
