"""A server's hash names what is served and how, so that no row of another setting is found in the cache."""

from types import SimpleNamespace

import pytest

from qcourse import serve
from qcourse.common import content_hash
from qcourse.serve import vllm_start
from qcourse.serve.llama_cpp_server import LlamaCppServer
from qcourse.serve.vllm_install import VLLM
from qcourse.serve.vllm_server import VLLMServer

SMALL_CONFIG = '{"model_type": "llama", "vocab_size": 512, "max_position_embeddings": 64}'


@pytest.fixture
def unstarted(tmp_path, monkeypatch):
    """Return a function (options of serve.vllm) -> its server, with no engine behind it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(SMALL_CONFIG)
    monkeypatch.setattr(vllm_start, "find_vllm", lambda: VLLM("python", "0", cpu=False))
    monkeypatch.setattr(vllm_start, "ServerProcess", lambda *_: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(VLLMServer, "start", lambda server, *_: server)

    def build(kv_cache_dtype="auto", **options):
        server = serve.vllm(folder, kv_cache_dtype, **options)
        server.cache_config = {"cache_dtype": kv_cache_dtype}
        return server

    return build


def adapter(folder, rank):
    """Write an adapter's settings and return its folder."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f'{{"r": {rank}}}')
    return folder


def test_the_kv_cache_of_llama_cpp_is_part_of_the_hash(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    hashes = [LlamaCppServer(file, 1, None, kind, 1).hash for kind in ("f16", "q8_0", "f16")]
    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[0].startswith(content_hash(file)[:16])


def test_every_setting_of_vllm_that_changes_numbers_is_part_of_the_hash(unstarted, tmp_path):
    first, second = adapter(tmp_path / "first", 8), adapter(tmp_path / "second", 16)
    settings = [{}, {"kv_cache_dtype": "fp8"}, {"dtype": "float32"}, {"adapter": first},
                {"adapter": second}, {"extra": ("--quantization", "fp8")}]  # fmt: skip
    hashes = [unstarted(**options).hash for options in settings]
    assert len(set(hashes)) == len(settings)
    assert unstarted().hash == hashes[0] and unstarted(port=None, threads=1).hash == hashes[0]


def test_a_row_says_the_dtype_and_the_model_that_were_asked(unstarted, tmp_path):
    plain = unstarted()
    tuned = unstarted(dtype="float32", adapter=adapter(tmp_path / "adapter", 8))
    assert (plain.dtype, plain.model) == ("bfloat16", "model")
    assert (tuned.dtype, tuned.model) == ("float32", "adapter")
