"""Order (fast tests first), the table of lanes by engines that closes every session, and shared fixtures.

Session fixtures, each the pathlib.Path of a Hugging Face folder (config, bf16 safetensors,
byte-level BPE tokenizer of 512 entries, 2 layers, random weights with a spread like a trained model's):

    llama_tied        Llama, hidden 256, 4 heads, 4 KV heads, tied embeddings, chat template
    llama_gqa         Llama, hidden 256, 4 heads, 2 KV heads, untied
    qwen2             Qwen2, hidden 256, 4 heads, 2 KV heads, q/k/v biases (not zero), tied, no chat template
    qwen3             Qwen3, hidden 256, head_dim 64, 2 KV heads, q/k norms (not one), tied
    odd_width         Llama, hidden 172, head_dim 32, 2 KV heads, intermediate 300 (128 does not divide)
    small_folders     dict of all five by name

and small_tokens: LongTensor [8, 64] of token ids below 512.
Function fixture: small_model(folder, dtype=torch.float32) loads a fresh copy from a folder.
"""

import pytest

from tests import engines, lane_table
from tests.fixtures import (  # noqa: F401
    llama_gqa,
    llama_tied,
    odd_width,
    qwen2,
    qwen3,
    small_folders,
    small_model,
    small_tokens,
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is fast first; the order is otherwise kept, so that module fixtures are shared."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Let engines.require know which test is asking."""
    engines.current.append(item)
    try:
        return (yield)
    finally:
        engines.current.pop()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt QCOURSE_REQUIRE before any test runs."""
    engines.required()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which lane ran in which engine; pytest's own closing line stays the last one."""
    reports = [
        report
        for kind in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(kind, [])
    ]
    lines = lane_table.render(lane_table.collect(reports), engines.ENGINES, engines.find)
    terminalreporter.section("lanes by engines")
    terminalreporter.write_line("\n".join(lines))
