"""A source of training rows: pico's tokenizer and one short document."""

import pytest

from qcourse.common import data_folder
from qcourse.pico.rows import Source
from qcourse.pico.source import ids_of


@pytest.fixture(scope="session")
def source() -> Source:
    """Return a source with pico-1's tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(data_folder() / "pico" / "tokenizer.json"))
    texts = ["The cat sat on the mat.\n" * 300]
    return Source(tokenizer, texts, ids_of(tokenizer, texts))
