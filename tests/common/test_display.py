"""Tables in a notebook: what a learner's browser gets; intervals as they are printed."""

from html.parser import HTMLParser

import pytest

from qcourse.common.display import html_table, interval, short


class Cells(HTMLParser):
    """Collects the texts of a table's cells, row by row."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_a_table_holds_its_texts_escaped_and_its_numbers_as_they_are():
    cells = Cells()
    text = html_table([{"claim": "S1-32", "figure": "0.10"}, {"claim": "<b>", "figure": "1e-05"}])
    cells.feed(text)
    assert cells.rows == [["claim", "figure"], ["S1-32", "0.10"], ["<b>", "1e-05"]]
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("bounds", "share", "text"),
    [
        ((6.939e-18, 0.07135), True, "[0.0%, 7.1%]"),
        ([0.9287, 1.0], True, "[92.9%, 100.0%]"),
        ((19.84321, 22.1), False, "[19.84, 22.1]"),
        (None, True, ""),
        ([], False, ""),
    ],
)
def test_an_interval_of_a_share_is_in_percent(bounds, share, text):
    assert interval(bounds, share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (123456.7, "123,457"), (float("nan"), "not applicable"), (None, ""), (True, True)],
)
def test_numbers_keep_four_digits(value, text):
    assert short(value) == text
