"""The study's findings: set-ups, the arithmetic of the checks, and a small run of the whole command."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.findings import __main__ as command
from benchmarks.findings.checks import Effect, Finding, judge, ratio
from benchmarks.findings.claims import FINDINGS
from benchmarks.findings.page import interval, page
from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import Estimated, Results

A, B = ("docker-own", "workflow", "no pause"), ("one-galera-3", "workflow", "no pause")


def results(first: list[float], second: list[float], metric: str = "throughput") -> Results:
    """Two cases with one metric."""
    return Results({A: {metric: first}, B: {metric: second}})


class TestSetUps:
    """The deployments that are compared."""

    def test_they_have_the_front_ends_they_say(self) -> None:
        """One, three, and five."""
        for setup in SETUPS.values():
            iam = setup.topology().services["iam"]
            assert sum(iam.replicas.values()) == setup.front_ends  # type: ignore[union-attr]

    def test_latency_stands_between_the_remote_cluster_and_everything_else(self) -> None:
        """The round trip is that of every link of the remote cluster, and of no other."""
        for setup in SETUPS.values():
            for link in setup.topology().links:
                far = "remote" in link.between and setup.rtt != 0
                assert link.rtt == pytest.approx(0.03 if far else 0.0002)


class TestChecks:
    """Direction, size, interval."""

    def test_a_ratio_is_taken_trial_by_trial(self) -> None:
        """What varies between trials alike on both sides does not widen the interval."""
        found = ratio([(1.0, 3.0), (5.0, 15.0), (20.0, 60.0)])
        assert found.low == pytest.approx(3.0) and found.high == pytest.approx(3.0)

    def test_the_interval_of_a_ratio(self) -> None:
        """Student's, of the logarithm: two trials of 1 and 4 have 2 in the middle."""
        found = ratio([(1.0, 1.0), (1.0, 4.0)])
        assert found.value == pytest.approx(2.0)
        assert found.high == pytest.approx(2.0 * math.exp(12.706 * math.log(2)), rel=1e-3)

    @pytest.mark.parametrize(
        ("found", "expect", "bound", "outcome"),
        [
            (Estimated(2.0, 1.5, 2.5), "above", 1.0, "agrees"),
            (Estimated(2.0, 0.9, 3.0), "above", 1.0, "open"),
            (Estimated(0.5, 0.4, 0.9), "above", 1.0, "disagrees"),
            (Estimated(0.5, 0.4, 0.9), "below", 1.0, "agrees"),
            (Estimated(1.5, 1.1, 2.0), "below", 1.0, "disagrees"),
            (Estimated(1.0, 0.97, 1.02), "near", 1.1, "agrees"),
            (Estimated(1.0, 0.80, 1.02), "near", 1.1, "open"),
            (Estimated(2.0, 1.9, 2.1), "near", 1.1, "disagrees"),
            (Estimated(math.nan, math.nan, math.nan), "above", 1.0, "open"),
        ],
    )
    def test_an_interval_is_judged_by_where_it_lies(
        self, found: Estimated, expect: str, bound: float, outcome: str
    ) -> None:
        """Wholly beyond the bound, wholly before it, or across."""
        assert judge(found, expect, bound) == outcome  # type: ignore[arg-type]

    def test_shares_are_compared_by_points(self) -> None:
        """A share may be zero: 0 to 10 % is 10 points."""
        effect = Effect("failures", "failed", A, B, "above", 5.0, points=True)
        assert effect.measured(results([0.0, 0.0], [0.1, 0.1], "failed")).value == pytest.approx(10.0)
        assert effect.outcome(results([0.0, 0.0], [0.1, 0.1], "failed")) == "agrees"

    def test_a_finding_is_as_good_as_its_comparisons(self) -> None:
        """All agree, all disagree, or some."""
        up = Effect("more", "throughput", A, B, "above")
        down = Effect("less", "throughput", A, B, "below")
        found = results([1.0, 1.0], [2.0, 2.0])
        assert Finding("F", "", (up,)).outcome(found) == "agrees"
        assert Finding("F", "", (down,)).outcome(found) == "disagrees"
        assert Finding("F", "", (up, down)).outcome(found) == "in part"
        unclear = results([1.0, 1.0], [0.5, 2.0])
        assert Finding("F", "", (up,)).outcome(unclear) == "open"


class TestPage:
    """What is written."""

    def test_numbers_carry_their_intervals(self) -> None:
        """Three digits, no exponents."""
        assert interval(Estimated(0.123456, 0.1, 1234.5), 1, " s") == "0.123 s [0.1, 1230]"

    def test_results_survive_being_written_down(self) -> None:
        """They are plain data."""
        found = results([1.0, 2.0], [3.0, 4.0])
        assert Results.of_data(found.data()) == found

    def test_a_small_run_of_the_command(self, tmp_path: Path) -> None:
        """Every set-up is simulated, every finding judged; a second run takes it all from the journal."""
        output, journal = tmp_path / "findings.md", tmp_path / "journal.sqlite"
        words = ["--quick", "--workers", "1", "--output", str(output), "--journal", str(journal)]
        assert command.main(words) == 0
        written = output.read_text()
        for setup in SETUPS.values():
            assert setup.title in written
        for one in FINDINGS:
            assert f"{one.name}: {one.claim}" in written
        assert "nan" not in written
        assert command.main(words) == 0
        assert output.read_text() == written

    def test_the_page_of_record_is_not_overwritten_by_a_small_run(self) -> None:
        """Rough numbers need another file."""
        with pytest.raises(SystemExit):
            command.main(["--quick"])

    def test_a_page_of_nothing(self) -> None:
        """No results, no rows."""
        assert "|---" in page(Results(), ())
