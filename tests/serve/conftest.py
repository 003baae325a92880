"""One server of each engine for the whole session, on a two-layer model."""

import os

import pytest
import torch

from qcourse import models, serve
from tests import engines
from tests.small_models import write_small_model


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """A two-layer Llama folder with a tokenizer of 512 entries and a chat template."""
    return write_small_model(tmp_path_factory.mktemp("serve") / "small", "llama_tied")


@pytest.fixture(scope="session")
def small(small_folder):
    """The small model in float32, on the CPU."""
    return models.load(small_folder, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def small_gguf(small, small_folder, tmp_path_factory):
    """The small model as bf16 and as Q8_0 GGUF files."""
    engines.require("gguf")
    engines.require("llama.cpp")
    from qcourse.export import gguf

    folder = tmp_path_factory.mktemp("gguf")
    plain = models.load(small_folder, device="cpu")
    gguf.write(plain.model, plain.tokenizer, folder / "small-bf16.gguf")
    gguf.quantize(folder / "small-bf16.gguf", folder / "small-q8.gguf", "Q8_0")
    return folder


@pytest.fixture(scope="session")
def tokens():
    """Four windows of 48 random token ids."""
    return torch.randint(5, 512, (4, 48), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def llama_server(small_gguf):
    """llama.cpp serving the bf16 file."""
    with serve.llama_cpp(small_gguf / "small-bf16.gguf", context=512, threads=1, progress=False) as server:
        yield server


@pytest.fixture(scope="session")
def vllm_server(small_folder):
    """vLLM serving the small model with its usual KV cache."""
    engines.require("vllm")
    with serve.vllm(small_folder, threads=1, progress=False) as server:
        yield server


def group_members(group: int) -> list[int]:
    """Return the ids of the live processes of a process group."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found
