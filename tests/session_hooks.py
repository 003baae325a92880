"""What every session does: fast tests first, and the closing table of lanes by engines."""

import pytest

from tests import engines, lane_table


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is marked slow."""
    return item.get_closest_marker("slow") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is fast first; with `-n 2 --dist loadgroup` keep a module's tests, and its servers, together.

    Lessons are the longest tests and share nothing, so that each is a group of its own.
    """
    items.sort(key=is_slow)
    for item in items:
        speed = "slow" if is_slow(item) else "fast"
        alone = "notebooks" in item.path.parts and is_slow(item)
        item.add_marker(pytest.mark.xdist_group(item.name if alone else f"{speed}-{item.path.stem}"))


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
