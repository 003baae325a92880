"""API keys: a random one for each server that we start, and the one that a client sends."""

import os
import secrets

VARIABLE = "QCOURSE_API_KEY"


def chosen_key(asked: str | None) -> str:
    """Return the key of a new server: the one asked for ("" for none), a random one for None."""
    return secrets.token_urlsafe(24) if asked is None else asked


def headers(key: str | None = None) -> dict[str, str]:
    """Return the header that carries a key, by default that of QCOURSE_API_KEY; none without a key."""
    key = os.environ.get(VARIABLE, "") if key is None else key
    return {"Authorization": f"Bearer {key}"} if key else {}
