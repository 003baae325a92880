"""The model that is judged, its tokens, and its artefacts: each made once for the whole session."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch

from qcourse.common import data_folder
from tests.interop.artefacts import Artefact, make
from tests.interop.judge import Judge


@pytest.fixture(scope="session")
def source(small_folders: dict[str, Path]) -> Path:
    """Pico; QCOURSE_INTEROP_MODEL names another folder, or "small" the two-layer model."""
    name = os.environ.get("QCOURSE_INTEROP_MODEL", str(data_folder() / "pico"))
    return small_folders["llama_gqa"] if name == "small" else Path(name)


@pytest.fixture(scope="session")
def token_stream(source: Path) -> torch.Tensor:
    """Token ids of held-out documentation."""
    from transformers import AutoTokenizer

    lines = (data_folder() / "eval" / "prose.jsonl").read_text(encoding="utf-8").splitlines()
    text = "\n\n".join(json.loads(line)["text"] for line in lines)
    tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=10**9)
    return torch.tensor(tokenizer(text[:60_000])["input_ids"])


@pytest.fixture(scope="session")
def judge(source: Path, token_stream: torch.Tensor) -> Judge:
    """The judge, on 2,048 tokens."""
    return Judge(source, token_stream[:2048].view(8, 256))


@pytest.fixture(scope="session")
def short_judge(source: Path, token_stream: torch.Tensor) -> Judge:
    """The judge on the same tokens in windows of two, for engines that round activations to int8."""
    return Judge(source, token_stream[:2048].view(1024, 2))


@pytest.fixture(scope="session")
def calibration(token_stream: torch.Tensor) -> torch.Tensor:
    """Sixteen other windows of 128 tokens: enough for a judge of files, not for a good model."""
    return token_stream[2048:4096].view(16, 128)


@pytest.fixture(scope="session")
def artefact(source: Path, calibration: torch.Tensor, tmp_path_factory: pytest.TempPathFactory):
    """Return a function from a form (see artefacts.FORMS) to its artefact."""
    root = tmp_path_factory.mktemp("artefacts")

    @cache
    def made(form: str) -> Artefact:
        return make(source, form, root / form.replace(" ", "-"), calibration)

    return made


@pytest.fixture(scope="session")
def reference_logits(judge: Judge, artefact):
    """Return a function from a form to the logits that an engine must give."""

    @cache
    def found(form: str) -> torch.Tensor:
        return judge.logits(artefact(form).reference())

    return found


@pytest.fixture(scope="session")
def peer(small_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """Return a function from "autogptq" or "autoawq" to the checkpoint that it made of the small model."""
    from qcourse.lanes import peers
    from tests.engines import require

    tokens = torch.randint(5, 512, (4, 64), generator=torch.Generator().manual_seed(0))
    root = tmp_path_factory.mktemp("peers")

    @cache
    def made(library: str) -> Path:
        require(library)
        return peers.quantize(library, small_folders["llama_gqa"], tokens, root / library)

    return made


@pytest.fixture(scope="session")
def peer_judge(small_folders: dict[str, Path]) -> Judge:
    """The judge of the small model that the archived libraries quantize."""
    tokens = torch.randint(5, 512, (32, 64), generator=torch.Generator().manual_seed(1))
    return Judge(small_folders["llama_gqa"], tokens)


@pytest.fixture(scope="session")
def peer_reference(peer, peer_judge: Judge):
    """Return a function from a library to the logits of its weights as our reader gives them."""
    from transformers import AutoModelForCausalLM

    from qcourse import export

    @cache
    def found(library: str) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(peer_judge.folder, dtype=torch.float32)
        model.load_state_dict(export.read(peer(library)), strict=False)
        return peer_judge.logits(model)

    return found
