"""A model without its weights: what config.json alone says, and what it cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qcourse.common import QCourseError, read_config


def skeleton(folder: Path) -> Any:
    """Return the model of a folder's config.json with every tensor on the meta device: shapes, no memory.

    Raises QCourseError for a config.json that no model can be made of.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from qcourse.models.attention import settle_attention
    from qcourse.models.experts import separate_experts

    read_config(folder)
    with one_sentence(folder), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    settle_attention(model.config)
    return separate_experts(model)


@contextmanager
def one_sentence(folder: Path) -> Iterator[None]:
    """Turn whatever transformers raises over a folder's files into a QCourseError that names the folder."""
    try:
        yield
    except QCourseError:
        raise
    except Exception as error:  # a wrong value in config.json raises whatever comes of it
        said = " ".join(str(error).split())[:200]
        raise QCourseError(
            f"{folder} cannot be loaded ({type(error).__name__}: {said}); check config.json"
        ) from error
