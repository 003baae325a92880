"""What every session does: fast tests first, and the closing table of lanes by engines."""

import pytest

from tests import engines, lane_table


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
