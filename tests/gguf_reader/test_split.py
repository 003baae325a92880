"""GGUF in shards, as gguf-py writes them: joined by whoever reads, counts or hashes, refused when alone."""

import functools
import shutil

import pytest
import torch

from qcourse import export, gguf_reader, measure
from qcourse.common import QCourseError, content_hash
from qcourse.export.gguf.write import _write
from qcourse.pipeline import inspect


@pytest.fixture(params=[False, True], ids=["even", "metadata alone"])
def files(request, written, llama_gqa, tmp_path, monkeypatch):
    """The shards of the small model's GGUF, whose whole file is `written`."""
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(llama_gqa, dtype=torch.bfloat16).requires_grad_(False)
    split = functools.partial(gguf.GGUFWriter, split_max_tensors=8, small_first_shard=request.param)
    tokenizer = AutoTokenizer.from_pretrained(llama_gqa)
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "GGUFWriter", split)
        _write(tmp_path / "model.gguf", "llama", model.config, dict(model.state_dict()), tokenizer)
    found = sorted(tmp_path.glob("*.gguf"))
    assert found[0].name.startswith("model-00001-of-0000") and len(found) > 2
    return found


def test_every_shard_names_all(files, written, tmp_path):
    whole = export.gguf.read(written("llama_gqa"))
    sizes = {path: path.stat().st_size for path in files}
    for path in (files[0], files[1]):
        found = export.gguf.read(path)
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[name], whole[name]) for name in whole)
        assert export.gguf.tensor_types(path) == export.gguf.tensor_types(written("llama_gqa"))
        size, wanted = measure.bits_per_weight(path), measure.bits_per_weight(written("llama_gqa"))
        assert (size.bits_per_weight, size.parameters) == (wanted.bits_per_weight, wanted.parameters)
        assert size.file_bytes == inspect.total_bytes(path) == sum(sizes.values())
        folder = gguf_reader.convert(path, tmp_path / "folder")
        assert all(torch.equal(value, whole[name]) for name, value in export.read(folder).items())


def test_the_hash_covers_every_shard(files):
    before = content_hash(files[0])
    assert before == content_hash(files[1])
    data = bytearray(files[-1].read_bytes())
    data[-1] ^= 1
    files[-1].write_bytes(data)
    assert content_hash(files[0]) != before


def test_a_lone_shard_is_refused_by_name(files, tmp_path):
    renamed = shutil.copy(files[1], tmp_path / "part.gguf")
    files[2].unlink()
    for read in (export.gguf.read, measure.bits_per_weight, content_hash):
        with pytest.raises(QCourseError, match=f"shards and {files[2].name} is not beside it"):
            read(files[0])
    with pytest.raises(QCourseError, match=r"part.gguf is one shard of \d"):
        export.gguf.read(renamed)


@pytest.mark.slow
@pytest.mark.engine
def test_llama_cpp_runs_all_shards_whichever_is_named(files, written):
    from qcourse import serve
    from tests.engines import require

    require("llama.cpp", lane="gguf")
    tokens, found = torch.arange(40, 72).reshape(1, 32), []
    for path in (files[1], written("llama_gqa")):
        with serve.llama_cpp(path, context=512, progress=False) as server:
            found.append(server.logits(tokens))
    assert torch.equal(*found)
