"""A lane's engine, opened: loaded here, or a server, which starts while the lane before is measured."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcourse.common.quiet import muted
from qcourse.lanes.lane import Lane, check_engine, reference_and_artefact


@dataclass(frozen=True)
class Ready:
    """A lane about to be measured: its bf16 reference, its artefact, and vLLM where it is starting."""

    reference: Any
    path: Path
    server: "Future[Any] | None" = None


def prepare(lane: Lane, base: Any, pool: Executor | None = None) -> Ready:
    """Build what a lane needs; with a pool, leave its vLLM starting there.

    Raises QCourseError when the engine is missing.
    """
    check_engine(lane)
    reference, path = reference_and_artefact(lane, base)
    begun = pool.submit(start_vllm, lane, path) if pool and lane.engine == "vllm" else None
    return Ready(reference, path, begun)


class Ahead:
    """Prepares each lane one turn early, so that its server starts while another lane is measured."""

    def __init__(self, base: Any) -> None:
        self.base, self.pool = base, ThreadPoolExecutor(1)
        self.prepared: dict[Lane, Future[Ready]] = {}

    def take(self, lane: Lane, *following: Lane) -> "Future[Ready]":
        """Return what is ready, or what went wrong, for a lane; prepare the one that follows."""
        for each in (lane, *following):
            if each not in self.prepared:
                self.prepared[each] = self.attempt(each)
        return self.prepared.pop(lane)

    def attempt(self, lane: Lane) -> "Future[Ready]":
        """Prepare a lane; an error is kept for the lane's own turn."""
        future: Future[Ready] = Future()
        try:
            future.set_result(prepare(lane, self.base, self.pool))
        except Exception as error:
            future.set_exception(error)
        return future

    def wait(self) -> None:
        """Return when no server is starting."""
        self.pool.submit(int).result()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        for future in self.prepared.values():
            server = None if future.exception() else future.result().server
            if server and not server.cancelled() and not server.exception():
                server.result().stop()


def start_vllm(lane: Lane, path: Path) -> Any:
    """Return a running vLLM on a lane's artefact."""
    from qcourse import serve

    return serve.vllm(path, kv_cache_dtype=lane.kv_cache_dtype, progress=False)


@contextmanager
def opened(lane: Lane, ready: Ready) -> Iterator[Any]:
    """Yield the artefact in its engine as a logit source; a server runs only inside the block."""
    from qcourse import measure, serve

    if lane.engine == "vllm":
        with ready.server.result() if ready.server else start_vllm(lane, ready.path) as server:
            yield server
    elif lane.engine == "llama.cpp":
        with serve.llama_cpp(ready.path, progress=False) as server:
            yield server
    else:
        with in_transformers(ready.path) as loaded:
            yield measure.HFSource(loaded.model, loaded.tokenizer)


@contextmanager
def in_transformers(path: Path) -> Iterator[Any]:
    """Yield a checkpoint loaded by transformers; its memory is given back after the block.

    One forward comes first: compressed-tensors unpacks its weights in it.
    """
    import torch

    from qcourse import models
    from qcourse.models.load import release

    with muted(), torch.inference_mode():
        loaded = models.load(path)
        loaded.model(input_ids=torch.tensor([[0, 1]], device=loaded.model.device))
    try:
        yield loaded
    finally:
        release(loaded)
