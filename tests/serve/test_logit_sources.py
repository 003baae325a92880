"""Whatever `measure.evaluate` asks of a model, every source of ours has: in memory or served."""

import inspect

import pytest
from typing_extensions import get_protocol_members

from qcourse.measure import HFSource, LogitSource
from qcourse.serve.connect import RemoteServer
from qcourse.serve.llama_cpp_server import LlamaCppServer
from qcourse.serve.vllm_server import VLLMServer
from tests.measure.conftest import Fixed


def members(source):
    """Return what a class has: attributes, also those that its __init__ sets by `self.name`."""
    parts = [part for part in source.__mro__ if part is not object]
    annotated = {name for part in parts for name in inspect.get_annotations(part)}
    code = "".join(inspect.getsource(part) for part in parts)
    return set(dir(source)) | annotated | {name for name in protocol() if f"self.{name}" in code}


def protocol():
    """Return the names of LogitSource."""
    return set(get_protocol_members(LogitSource))


@pytest.mark.parametrize("source", [HFSource, VLLMServer, LlamaCppServer, RemoteServer])
def test_a_source_has_all_that_is_asked(source):
    assert {"logits", "generate", "latency", "hash"} <= protocol()
    assert not protocol() - members(source)


@pytest.mark.parametrize("source", [HFSource, VLLMServer, LlamaCppServer, RemoteServer])
@pytest.mark.parametrize("name", ["logits", "generate", "latency"])
def test_its_calls_take_the_same_arguments(source, name):
    wanted, found = (
        list(inspect.signature(getattr(each, name)).parameters) for each in (LogitSource, source)
    )
    assert found == wanted


def test_a_source_that_lacks_one_is_seen():
    assert protocol() - members(Fixed) == {"generate"}
