"""Calibration text from a dataset of the hub, row by row, so that only the rows that are used are fetched."""

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qcourse.common import QCourseError
from qcourse.models.resolve import NETWORK_SECONDS, offline

PREFIX = "hub:"
FORM = "hub:ORG/NAME[/CONFIG][:SPLIT][:COLUMN]"
NAME = re.compile(
    r"hub:(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:/(?P<config>[^/:]+))?(?::(?P<split>[^:]+))?"
    r"(?::(?P<column>[^:]+))?"
)
INSTEAD = "or give a text or JSONL file"


class HubName(NamedTuple):
    """The parts of a hub dataset's name."""

    repository: str
    config: str | None
    split: str
    column: str


def is_hub(source: Path | str) -> bool:
    """Return whether a calibration source is named as a hub dataset."""
    return str(source).startswith(PREFIX)


def parse(name: str) -> HubName:
    """Return the parts of hub:ORG/NAME[/CONFIG][:SPLIT][:COLUMN]; QCourseError for another form.

    Left out, the configuration is the dataset's only one, the split is "train" and the column "text".
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise QCourseError(
            f"{name!r} names no hub dataset; write {FORM}, "
            "such as hub:Salesforce/wikitext/wikitext-2-raw-v1:train:text"
        )
    return HubName(match["repository"], match["config"], match["split"] or "train", match["column"] or "text")


def hub_texts(name: str, characters: int) -> list[str]:
    """Return texts of a dataset's first rows, rows without text left out, until there are `characters`.

    As for models, a folder here of that name (JSONL or parquet files) comes before the hub.
    Code of the dataset is never run. Raises QCourseError when the library or the network is absent, for an
    unknown dataset, configuration, split or column, and when there is no text.
    """
    wanted = parse(name)
    texts, found = [], 0
    for text in column_texts(rows(wanted, hub_revision(name)), wanted.column, name):
        texts.append(text)
        found += len(text)
        if found >= characters:
            break
    if not texts:
        raise QCourseError(f"{name} has no text in its column {wanted.column!r}; name another, {INSTEAD}")
    return texts


def column_texts(rows: Iterable[dict[str, Any]], column: str, name: str) -> Iterator[str]:
    """Yield the texts of one column; QCourseError when it is not there or holds something else."""
    for row in rows:
        if column not in row:
            raise QCourseError(f"{name} has no column {column!r}; it has {', '.join(row)}: write {FORM}")
        text = row[column]
        if text is not None and not isinstance(text, str):
            words = [key for key, value in row.items() if isinstance(value, str)]
            raise QCourseError(
                f"the column {column!r} of {name} holds {type(text).__name__}, not text; "
                f"columns of text are {', '.join(words) or 'none'}: write {FORM}"
            )
        if text and text.strip():
            yield text


def rows(wanted: HubName, revision: str | None) -> Iterator[dict[str, Any]]:
    """Yield a dataset's rows as they are fetched; QCourseError with the library's reason if it cannot."""
    import httpx

    datasets = library()
    failures = (OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError)
    try:
        yield from datasets.load_dataset(
            wanted.repository, wanted.config, split=wanted.split, revision=revision, streaming=True
        )
    except failures as error:
        said = str(error).strip() or type(error).__name__
        reason = " ".join(said.splitlines()[:2]).rstrip(".")  # the second line names what there is
        raise QCourseError(
            f"hub dataset {wanted.repository} cannot be read: {reason}; write {FORM}, {INSTEAD}"
        ) from error


def library() -> Any:
    """Return the module `datasets`; QCourseError when it is absent."""
    try:
        import datasets
    except ImportError as error:
        raise QCourseError(
            f"hub datasets need the library datasets, which is absent; pip install datasets, {INSTEAD}"
        ) from error
    return datasets


def hub_revision(name: str) -> str | None:
    """Return the commit that a hub dataset is read at in this process, None for a folder here."""
    repository = parse(name).repository
    return None if Path(repository).is_dir() else newest_revision(repository)


@functools.cache
def newest_revision(repository: str) -> str:
    """Ask the hub for a dataset's newest commit, once; QCourseError within a few seconds if it cannot be."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    reason, fix = "HF_HUB_OFFLINE is set", f"connect, {INSTEAD}"
    if not offline():
        try:
            return HfApi().dataset_info(repository, timeout=NETWORK_SECONDS).sha
        except RepositoryNotFoundError:
            reason = "the hub has none of that name (or it is private or gated)"
            fix = f"check the spelling, run `hf auth login`, {INSTEAD}"
        except (OSError, httpx.HTTPError) as error:
            reason = f"the hub cannot be reached ({type(error).__name__})"
    raise QCourseError(f"hub dataset {repository} is no folder here, and {reason}; {fix}")
