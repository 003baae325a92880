"""From what a user types (`pico`, `smollm2`, a folder, a hub id) to a folder on this machine."""

import os
import re
from pathlib import Path

from qcourse.common import QCourseError, data_folder
from qcourse.models.smollm2 import smollm2

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
NETWORK_SECONDS = 5.0


def resolve(name: str | Path | None = None, revision: str | None = None) -> Path:
    """Return the folder of `name`: "pico", "smollm2", a folder, or a hub id (downloaded once, then cached).

    None means the environment variable QCOURSE_MODEL, or else pico.
    Raises QCourseError for a name that is none of these and for a hub that cannot be reached.
    """
    name = str(name or os.environ.get("QCOURSE_MODEL") or "pico")
    folder = data_folder() / "pico" if name == "pico" else Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name == "pico":
        raise QCourseError(
            f"pico is not in {folder}; restore data/pico from the repository "
            "or train it: python -m qcourse.pico.train"
        )
    if name == "smollm2":
        return smollm2()
    if HUB_ID.fullmatch(name):
        return from_hub(name, revision)
    raise QCourseError(
        f"unknown model {name!r}: not pico or smollm2, not a folder here, not a hub id like Qwen/Qwen2.5-0.5B"
    )


def public_name(name: str | Path) -> str:
    """Return a model's name without this machine's folders, as records keep it."""
    return Path(name).name if Path(name).is_dir() else str(name)


def from_hub(name: str, revision: str | None) -> Path:
    """Return the local copy of a hub repository, from the cache if it is there; safetensors only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(name, revision=revision, local_files_only=True))
        if list(cached.glob("*.safetensors")):
            return cached
    except (LocalEntryNotFoundError, FileNotFoundError):
        pass
    check_network(name)
    return download(name, revision)


def offline() -> bool:
    """Return whether HF_HUB_OFFLINE asks that the hub be left alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}


def check_network(name: str) -> None:
    """Raise QCourseError within a few seconds when the hub cannot be reached."""
    import httpx

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        if not offline():
            httpx.head(endpoint, timeout=NETWORK_SECONDS)
            return
        reason = "HF_HUB_OFFLINE is set"
    except httpx.HTTPError:
        reason = f"{endpoint} cannot be reached"
    raise QCourseError(
        f"{name} is neither a folder here nor in the hub cache, and {reason}; "
        "use pico, give a folder, or connect once to download it"
    )


def download(name: str, revision: str | None) -> Path:
    """Download a hub repository's safetensors, configuration and tokenizer; QCourseError says what failed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except GatedRepoError as error:
        raise QCourseError(
            f"{name} is gated; accept its licence on the hub and run `hf auth login`, "
            "or take an ungated model"
        ) from error
    except RepositoryNotFoundError as error:
        raise QCourseError(f"the hub has no model {name!r} (or it is private); check the spelling") from error
    except RevisionNotFoundError as error:
        raise QCourseError(
            f"{name} has no revision {revision!r}; leave --revision out for the newest"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise QCourseError(f"downloading {name} failed: {type(error).__name__}; try again") from error
