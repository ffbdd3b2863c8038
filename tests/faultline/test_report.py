"""The reports of a run: self-contained, complete, and the same numbers everywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from experiments.observation import Event
from faultline.home import Home, RunDirectory
from faultline.junit import junit_xml
from faultline.plots import Band, course, interval_bar, nice_ticks, timeline
from faultline.report import RunFiles, headline_metrics, html, markdown, write_reports
from faultline.results import RunResult
from faultline.verdict import Verdict
from topologies.errors import InputError


class Page(HTMLParser):
    """Collects what a browser would load, and whether the tags are closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember tags and every attribute that makes a browser fetch something."""
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "xlink:href"}
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count a self-closing tag (SVG)."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Insist on order."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.words.append(data)


@pytest.fixture(scope="module")
def files(finished_run: RunDirectory) -> RunFiles:
    """The finished run, read."""
    return RunFiles.read(finished_run)


@pytest.fixture(scope="module")
def page(files: RunFiles) -> str:
    """Its page."""
    return html(files)


class TestHtml:
    """The page."""

    def test_nothing_is_loaded_from_anywhere(self, page: str) -> None:
        """No attribute and no style rule makes a browser fetch, and the page forbids it besides."""
        found = Page(page)
        assert [load for load in found.loads if not load.startswith("#")] == []
        assert not {"script", "link", "iframe", "img"} & set(found.tags)
        assert not re.search(r"url\(|@import", page)
        addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # a name space, which is not loaded
        assert "default-src 'none'" in page

    def test_every_headline_metric_has_its_row_with_interval_and_verdict(
        self, files: RunFiles, page: str
    ) -> None:
        """Title, interval bar and verdict of each are on the page."""
        assert files.result is not None
        shown = headline_metrics(files.result.metrics)
        assert len(shown) > 15
        assert page.count('class="bar v-') >= len(shown)
        assert page.count('<span class="pill') >= len(shown) + len(files.result.hypotheses)

    def test_sections_are_there(self, page: str) -> None:
        """Verdict, table, hypotheses, timeline, topology, health, what was used, definitions."""
        for name in ("compare", "hypotheses", "timeline", "topology", "health", "used", "definitions"):
            assert f'id="{name}"' in page
        assert "wireguard-go" in page
        assert "ef" * 32 in page
        assert "partition edi" in page

    def test_text_of_users_is_escaped(self, files: RunFiles) -> None:
        """A title cannot smuggle markup into the page."""
        record = {**files.record, "title": "<script>alert(1)</script>"}
        text = html(RunFiles(record, files.prediction, files.measurement, files.result, files.events, None))
        assert "script" not in Page(text).tags
        assert "<script>alert(1)</script>" in "".join(Page(text).words)

    def test_a_run_that_ended_early_has_a_page_too(self, files: RunFiles) -> None:
        """The prediction is shown, and why the run ended."""
        record = {**files.record, "error": {"stage": "lab", "message": "relay did not start"}}
        text = html(RunFiles(record, files.prediction, None, None, (), None))
        assert "Ended early" in text
        assert "relay did not start" in text

    def test_a_killed_run_is_not_taken_for_a_prediction(self, files: RunFiles) -> None:
        """Without an end and a verdict, the stage it was last seen at is told."""
        record = {**files.record, "stage": "load"}
        text = html(RunFiles(record, files.prediction, None, None, (), None))
        assert "was killed there" in text
        bare = html(RunFiles({"run_id": "x"}, files.prediction, None, None, (), None))
        assert "Predicted, not measured" in bare

    def test_a_simulated_run_says_that_it_validates_nothing(self, files: RunFiles) -> None:
        """The notice stands at the top."""
        measurement = {**(files.measurement or {}), "validation": False}
        parts = (files.record, files.prediction, measurement, files.result, files.events, files.requests)
        assert "does not count in the score" in html(RunFiles(*parts))
        assert "does not count in the score" in markdown(RunFiles(*parts))


class TestFiles:
    """Writing them, and reading damaged ones."""

    def test_reports_can_be_made_again_from_the_directory(self, finished_run: RunDirectory) -> None:
        """The same directory gives the same bytes."""
        path = write_reports(finished_run)
        first = path.read_bytes()
        assert write_reports(finished_run).read_bytes() == first
        assert (finished_run.path / "junit.xml").is_file()

    def test_a_damaged_events_file_is_named_with_its_line(
        self, home: Home, finished_run: RunDirectory
    ) -> None:
        """No traceback for a file somebody edited."""
        run = home.new_run("damaged")
        for name in ("record.json", "prediction.json"):
            run.write_text(name, (finished_run.path / name).read_text())
        run.write_text("events.jsonl", '{"at": 1.0, "component": "a", "kind": "b"}\n{"at": 2.0}\n')
        with pytest.raises(InputError, match=r"events\.jsonl:2"):
            RunFiles.read(run)


class TestMarkdown:
    """The summary for a pull request."""

    def test_table_has_the_headlines_and_escapes_bars(self, files: RunFiles) -> None:
        """One line per headline metric; a title with a bar does not break the table."""
        text = markdown(RunFiles({**files.record, "title": "a | b"}, *list(vars(files).values())[1:]))
        assert files.result is not None
        assert text.splitlines()[0].endswith("a \\| b: deviated")
        rows = [line for line in text.splitlines() if line.startswith("| ") and "[" in line]
        assert len(rows) - 1 == len(headline_metrics(files.result.metrics))


class TestJUnit:
    """What CI reads."""

    def test_one_case_per_hypothesis_and_metric_with_true_counts(self, files: RunFiles) -> None:
        """Names, counts and outcomes are those of the verdict."""
        result = files.result
        assert result is not None
        suites = ElementTree.fromstring(junit_xml(result, "site cut"))
        assert [suite.tag for suite in suites] == ["testsuite", "testsuite"]
        claims, metrics = suites
        assert [case.get("name") for case in claims] == [claim.claim for claim in result.hypotheses]
        assert [case.get("name") for case in metrics][1:] == [metric.key for metric in result.metrics]
        for suite in suites:
            assert suite.get("tests") == str(len(suite))
            assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
            assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
            assert all(case.get("name") and case.get("classname") for case in suite)
        deviated = [claim for claim in result.hypotheses if claim.verdict is Verdict.DEVIATED]
        assert len(claims.findall("testcase/failure")) == len(deviated) == 1

    def test_results_survive_the_way_through_json(self, files: RunFiles) -> None:
        """`verdict.json` holds everything a result has."""
        assert files.result is not None
        assert RunResult.from_json(files.result.to_json()) == files.result


class TestPlots:
    """The pictures."""

    @pytest.mark.parametrize(
        ("value", "place"),
        [(5.0, "inside"), (1.0, "below"), (100.0, "above"), (4.0, "inside"), (6.0, "inside")],
    )
    def test_bar_says_where_the_value_lies(self, value: float, place: str) -> None:
        """For those who cannot see it as well; far outside it is an arrow."""
        bar = interval_bar(4.0, 5.0, 6.0, value, "held")
        assert f"{place} the interval" in bar
        assert ("<path" in bar) == (value in (1.0, 100.0))
        ElementTree.fromstring(bar)

    def test_bar_of_a_certainty_has_a_width(self) -> None:
        """An interval of one point is still drawn, without dividing by zero."""
        ElementTree.fromstring(interval_bar(0.0, 0.0, 0.0, 0.0, "held"))
        ElementTree.fromstring(interval_bar(3.0, 3.0, 3.0, 4.0, "deviated"))

    def test_course_counts_every_request_once(self, files: RunFiles) -> None:
        """Bins add up to the requests: ok ones by completion, failed ones by start; probes are left out."""
        assert files.requests is not None
        load = files.requests[files.requests["source"] == "load"]
        binned = course(files.requests, 90.0)
        ok = load[load["outcome"] == "ok"]
        assert binned.throughput.sum() == (ok["start"] + ok["latency"] <= 90.0).sum()
        assert sum(values.sum() for values in binned.errors.values()) == (load["outcome"] != "ok").sum()
        assert "ok" not in binned.errors

    def test_timeline_is_well_formed_with_nothing_in_it(self) -> None:
        """No requests, no band, no event: still a picture."""
        ElementTree.fromstring(timeline(None, {}, [], [], 0.0, 10.0))

    def test_timeline_breaks_lines_where_there_is_no_value(self) -> None:
        """A gap in the prediction is a gap in the picture, not a line through zero."""
        values = np.array([1.0, 2.0, np.nan, 2.0, 1.0])
        band = Band(np.arange(5.0), values * 0.5, values, values * 2)
        text = timeline(None, {"throughput": band}, [], [(1.0, 2.0)], 0.5, 5.0)
        root = ElementTree.fromstring(text)
        assert len(root.findall("polyline[@class='expected a']")) == 2
        assert "nan" not in text

    def test_events_share_the_time_axis(self) -> None:
        """An event in the middle of the run stands in the middle of the axis."""
        text = timeline(None, {}, [Event(5.0, "db@ral", "galera.view", "<2 of 3>")], [], 0.0, 10.0)
        root = ElementTree.fromstring(text)
        mark = next(node for node in root.iter("circle"))
        labels = {node.text: float(node.get("x", "0")) for node in root.iter("text")}
        assert float(mark.get("cx", "0")) == pytest.approx(labels["5"], abs=0.2)

    @pytest.mark.parametrize("peak", [0.3, 1.0, 47.0, 999.0, 1e5])
    def test_ticks_reach_the_peak(self, peak: float) -> None:
        """From zero to at least the largest value, in at most seven round steps."""
        ticks = nice_ticks(peak)
        assert ticks[0] == 0
        assert ticks[-1] >= peak * 0.998
        assert len(ticks) <= 7


def test_package_ships_what_the_report_needs() -> None:
    """Template and style lie beside the code that reads them."""
    room = Path(html.__code__.co_filename).parent
    assert (room / "report_html.j2").is_file()
    assert (room / "report.css").is_file()
