"""Charts of a report take on the colours of the page, and have a text for screen readers."""

import re
from xml.etree import ElementTree

import pytest

from kosmos2_eval.charts import COLOURS, MAX_POINTS, line_chart, reliability_chart, scatter_chart
from kosmos2_eval.metrics import Bin

LINE = [(0.0, 0.0), (0.5, 0.4), (1.0, 1.0)]
BINS = [Bin(10, 0.1, 0.2), Bin(12, 0.5, 0.5), Bin(11, 0.9, 1.0)]


@pytest.fixture(scope="module")
def charts():
    return {
        "line": line_chart("line", {"first": LINE, "second": LINE}, "recall", "precision", markers=True),
        "scatter": scatter_chart("scatter", {"right": LINE, "wrong": LINE[:1]}, "seconds", "IoU", 1.0),
        "bins": reliability_chart("bins", {"first": BINS, "second": BINS[1:]}),
    }


def test_a_chart_has_a_text_and_the_colours_of_the_page(charts):
    for title, chart in charts.items():
        assert chart.startswith(f'<svg class="chart" role="img" aria-label="{title}"')
        ElementTree.fromstring(chart)  # well-formed
        assert not any(colour in chart for colour in COLOURS.values())
        assert "var(--a)" in chart or "var(--right)" in chart


def test_labels_and_names_are_text(charts):
    for text in ("recall", "precision", "first", "second"):
        assert f">{text}</text>" in charts["line"]
    assert ">phrases</text>" in charts["bins"]  # the panel with the counts
    assert not re.search(r"font: [^;]*sans", charts["line"])  # the font is the page's


def test_charts_on_one_page_share_no_id(charts):
    ids = [name for chart in charts.values() for name in re.findall(r' id="([mp][0-9a-f]{8,})"', chart)]
    assert len(ids) == len(set(ids)) > 0


def test_a_chart_is_the_same_each_time(charts):
    assert charts["bins"] == reliability_chart("bins", {"first": BINS, "second": BINS[1:]})


def test_many_points_are_thinned_out():
    points = [(number / 10_000, 0.5) for number in range(10_000)]
    chart = scatter_chart("many", {"right": points}, "seconds", "IoU", 1.0)
    assert MAX_POINTS / 2 < chart.count("<use ") <= MAX_POINTS + 20  # ticks are drawn in the same way
