"""What predictions and comparisons show of themselves in a notebook."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.hypothesis import Hypothesis
from experiments.workload import ProbeStream, Workload
from sim.charts import Mark, Series, lines, rows, ticks
from sim.predict import Prediction, Scenario, predict
from sim.progress import Bar
from sim.replication import COURSES
from sim.tables import table
from sim.whatif import Comparison, compare
from topologies.loader import load

WORKLOAD = Workload(
    users=3, think=1.0, duration=10.0, warmup=2.0, probes=(ProbeStream(flow="health", rate=2.0),)
)


def scenario() -> Scenario:
    """A short, quiet run with a claim whose text needs escaping."""
    return Scenario(
        load("iris-1site", size="lab"), WORKLOAD, (), (Hypothesis(metric="lost_commits", expect="<= 0"),)
    )


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    """A prediction of it."""
    return predict(scenario(), replications=3, workers=1)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """The same twice."""
    return compare(scenario(), scenario(), names=("a<b", "c"), replications=2, workers=1)


class Balanced(HTMLParser):
    """Checks that every tag that is opened is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Note the tag."""
        self.open.append(tag)
        self.cells += tag == "td"

    def handle_endtag(self, tag: str) -> None:
        """It closes the last one opened."""
        assert self.open.pop() == tag


def balanced(html: str) -> Balanced:
    """Parse ``html``; nothing is left open."""
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser


class TestPrediction:
    """A prediction in a notebook."""

    def test_frame(self, prediction: Prediction) -> None:
        """A row per metric with both intervals, for pandas and for Polars."""
        frame = prediction.frame()
        assert len(frame) == len(prediction.metrics)
        assert (frame["low"] <= frame["median"]).all()
        assert prediction.to_polars("latency").shape[0] == len(prediction.frame("latency")) > 0

    @pytest.mark.parametrize("course", COURSES)
    def test_plots(self, prediction: Prediction, course: str) -> None:
        """Every course is a well-formed picture."""
        assert ET.fromstring(prediction.plot(course).svg).tag.endswith("svg")

    def test_no_such_course(self, prediction: Prediction) -> None:
        """The ones there are are named."""
        with pytest.raises(ValueError, match="throughput"):
            prediction.plot("speed")

    def test_html(self, prediction: Prediction) -> None:
        """Claims are escaped, and metrics of the whole service are listed."""
        html = prediction._repr_html_()
        assert "lost_commits@whole &lt;= 0" in html
        assert "throughput{flow=workflow}@whole" in html
        assert "site=" not in html
        assert balanced(html).cells > 10


class TestComparison:
    """A comparison in a notebook."""

    def test_frame_html_and_plot(self, comparison: Comparison) -> None:
        """The sides are columns under their names; names are escaped; a row per metric in the picture."""
        frame = comparison.frame()
        assert (frame["a<b"] == frame["c"]).all()
        assert not frame["differs"].any()
        assert comparison.to_polars().shape == frame.shape
        html = comparison._repr_html_()
        assert "<th>a&lt;b</th>" in html
        balanced(html)
        chart = comparison.plot("throughput{flow=workflow}@whole", "latency_p50{flow=workflow}@whole")
        assert len(ET.fromstring(chart.svg).findall("{*}circle")) == 2


class TestCharts:
    """Pictures by hand."""

    @given(
        st.lists(
            st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0, 1e6)), min_size=0, max_size=12
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_any_numbers_make_a_picture(
        self, points: list[tuple[float, float, float]], band: bool, words: bool
    ) -> None:
        """Equal, huge, negative, none at all: the picture is well-formed and nothing lies outside it."""
        marks = tuple(Mark(str(x) if words else x, y, y - spread, y + spread) for x, y, spread in points)
        for chart in (lines([Series("a & b", marks)], band=band, zero=False), rows(marks)):
            root = ET.fromstring(chart.svg)
            _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
            for dot in root.findall("{*}circle"):
                assert 0 <= float(dot.attrib["cx"]) <= width
                assert 0 <= float(dot.attrib["cy"]) <= height

    def test_open_ends(self) -> None:
        """An interval that is open on a side still has its dot."""
        chart = lines([Series("", (Mark("x", 1.0, None, float("inf")), Mark("y", 2.0, 1.0, None)))])
        assert len(ET.fromstring(chart.svg).findall("{*}circle")) == 2

    @given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
    def test_ticks_are_round_and_inside(self, low: float, span: float) -> None:
        """Between two and about a dozen, evenly spaced."""
        found = ticks(low, low + span)
        assert 1 <= len(found) <= 12
        assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)

    def test_saved(self, tmp_path: Path) -> None:
        """The file is the picture."""
        chart = lines([Series("", (Mark(1.0, 2.0),))])
        chart.save(tmp_path / "x.svg")
        assert (tmp_path / "x.svg").read_text() == chart.svg == chart._repr_svg_()
        assert chart.svg in chart._repr_html_()


def test_tables_escape_everything() -> None:
    """Heads, cells and captions."""
    html = table(["<a>"], [["<b>"]], "<c>")
    assert "&lt;a&gt;" in html
    assert "&lt;b&gt;" in html
    assert "&lt;c&gt;" in html
    balanced(html)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that is written over, with what is left; silent where nobody looks."""
    Bar("work")(1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Bar("work")
    bar(0, 2)
    bar(2, 2)
    told = capsys.readouterr().err
    assert "work: 0 of 2" in told
    assert told.endswith("work: 2 of 2 in 0 s\n")
