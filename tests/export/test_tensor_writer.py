"""Our safetensors files are those that the library reads, and only one part of them is ever in memory."""

import weakref
from collections.abc import Iterator, Mapping

import pytest
import torch
from safetensors.torch import load_file

from qcourse import export
from qcourse.common import QCourseError
from qcourse.common.tensor_header import read_header
from qcourse.common.tensor_writer import DTYPES, outlines, save, save_parts
from tests.export.conftest import KINDS


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Return a tensor of random bytes."""
    data = torch.randint(0, 2 if dtype == torch.bool else 256, (*shape, dtype.itemsize), dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


def test_every_dtype_and_shape_returns_and_starts_where_its_element_may(tmp_path):
    tensors = {f"{name} of größe": some(dtype, 3, 5) for name, dtype in DTYPES.items()}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "turned": some(torch.int16, 7, 3).T}
    save(tensors, tmp_path / "file.safetensors")
    found = load_file(tmp_path / "file.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        wanted, got = (part.contiguous().reshape(-1).view(torch.uint8) for part in (tensor, found[name]))
        assert torch.equal(wanted, got), name
    for name, entry in read_header(tmp_path / "file.safetensors").items():
        assert entry.start % tensors[name].element_size() == 0, name


def test_the_bytes_do_not_depend_on_how_the_tensors_are_parted(tmp_path):
    tensors = {name: some(torch.bfloat16, 4, size) for size, name in enumerate("cadb", 1)}
    parts = [lambda name=name: {name: tensors[name]} for name in "dbca"]
    save(tensors, tmp_path / "whole")
    save_parts(parts, outlines(parts), tmp_path / "parts")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def test_a_dtype_that_the_format_lacks_is_refused(tmp_path):
    with pytest.raises(QCourseError, match="odd is torch.complex64, which is not written"):
        save({"odd": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "file")
    assert not (tmp_path / "file").exists()


class OnDisk(Mapping):
    """Layers made anew whenever one is asked for; counts how many of them are alive at once."""

    def __init__(self, layers: dict) -> None:
        self.stored, self.alive, self.most = layers, weakref.WeakSet(), 0

    def __getitem__(self, name: str) -> torch.Tensor:
        stored = self.stored[name]
        layer = type(stored)(**{**vars(stored), "codes": stored.codes.clone()})
        self.alive.add(layer.codes)
        self.most = max(self.most, len(self.alive))
        return layer

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


@pytest.mark.parametrize("kind", [*KINDS, "merged"])
def test_layers_on_disk_come_into_memory_one_by_one(kind, small, layers_of, tmp_path):
    model, tokenizer = small("llama_gqa")
    layers = layers_of("llama_gqa", "gptq-w4g128" if kind == "merged" else kind)
    format = "merged" if kind == "merged" else KINDS[kind][0]
    stored = OnDisk(layers)
    streamed = export.save(stored, model, tokenizer, tmp_path / "streamed", format)
    whole = export.save(layers, model, tokenizer, tmp_path / "whole", format)
    assert len(layers) > 8 and stored.most <= 2  # the next is read before the last is let go
    for path in whole.iterdir():
        assert path.read_bytes() == (streamed / path.name).read_bytes()
