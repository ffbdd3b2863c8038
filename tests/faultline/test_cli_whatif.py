"""`predict --half-width` and `compare --with` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.home import Home

SHORT = ("--set", "workload.users=2", "--set", "workload.duration=16s", "--set", "workload.warmup=2s")
MEDIAN = "latency_p50{flow=workflow}@whole"


@pytest.fixture(autouse=True)
def own_place(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home and a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, list(words))


class TestHalfWidth:
    """Replications to a wanted precision."""

    def test_not_reached_is_said(self) -> None:
        """The cap ends it; the metric and what was reached are named."""
        words = ("--half-width", "1%", "--max-replications", "3", "--precise", MEDIAN)
        result = call("predict", "baseline", *SHORT, "--replications", "2", *words)
        assert result.exit_code == 0, result.output
        assert "not reached within 3 replications" in result.stdout
        assert "p50 latency, whole run: ±" in result.stdout

    def test_is_in_the_document(self) -> None:
        """Every claimed metric is judged when none is named."""
        words = ("--half-width", "99%", "--max-replications", "3", "--json")
        result = call("predict", "baseline", *SHORT, "--replications", "2", *words)
        precision = json.loads(result.stdout)["precision"]
        assert precision["half_width"] == 0.99
        assert "lost_commits@whole" in precision["metrics"]

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("--half-width", "5"), "5"),
            (("--half-width", "0%"), "between 0 and 1"),
            (("--half-width", "wide"), "wide"),
            (("--half-width", "5%", "--precise", "latency_p51@whole"), "latency_p51"),
            (("--precise", MEDIAN), "--half-width"),
            (("--half-width", "5%", "--max-replications", "1"), "--max-replications"),
        ],
    )
    def test_wrong_wishes(self, words: tuple[str, ...], told: str) -> None:
        """Exit 64 with what was wrong, before anything is simulated."""
        result = call("predict", "baseline", *words)
        assert result.exit_code == 64, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output


class TestWhatIf:
    """`compare EXPERIMENT --with`."""

    def test_shows_the_paired_difference(self) -> None:
        """Slower links: the p50 latency differs, with a positive interval."""
        words = ("--with", "links[0].rtt=200ms", "--with", "links[1].rtt=200ms", "--replications", "2")
        result = call("compare", "baseline", *SHORT, *words, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        paired = found["metrics"][MEDIAN]["paired"]
        assert found["names"][1] == "links[0].rtt=200ms, links[1].rtt=200ms"
        assert found["seed"] == 0
        assert paired["interval"][0] <= paired["difference"] <= paired["interval"][1]
        assert paired["difference"] > 0.05

    def test_as_a_table_another_topology_is_a_change_too(self) -> None:
        """The table names both sides and the pairing."""
        words = ("--with", "topology=iris-1site", "--replications", "2")
        result = call("compare", "baseline", *SHORT, *words)
        assert result.exit_code == 0, result.output
        assert "difference [95 % interval]" in result.stdout
        assert "paired by their random numbers" in result.stdout

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("baseline", "latest", "--with", "links[0].rtt=1ms"), "leave it out"),
            (("latest", "--set", "links[0].rtt=1ms"), "--with"),
            (("baseline", "--with", "links[9].rtt=1ms"), "links"),
            (("baselin", "--with", "links[0].rtt=1ms"), "baseline"),
        ],
    )
    def test_wrong_questions(self, words: tuple[str, ...], told: str) -> None:
        """Exit 64 with what to write instead."""
        result = call("compare", *words)
        assert result.exit_code == 64, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output
