"""The study's findings: set-ups, the arithmetic of the checks, and a small run of the whole command."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks.findings import __main__ as command
from benchmarks.findings.cases import FAR, WHATIFS, everything
from benchmarks.findings.checks import Effect, Finding, judge, ratio
from benchmarks.findings.claims import findings
from benchmarks.findings.closed_forms import distance, replica_reads_save, session_delay
from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import CODES, Estimated, Results
from benchmarks.findings.tables import codes, interval, number, per_day
from experiments.observation import OUTCOMES
from topologies.model import Galera, Haproxy

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

    def test_every_what_if_is_a_deployment(self) -> None:
        """Overrides lead somewhere, and change something."""
        for question in WHATIFS:
            assert question.setup.topology() != SETUPS[question.base].topology()

    def test_everything_is_simulated_once(self) -> None:
        """All set-ups under all loads, and whatever the comparisons need."""
        keys = [case.key for case in everything()]
        assert len(keys) == len(set(keys))
        for one in findings():
            for effect in (*one.effects, *one.evidence):
                assert {effect.first, effect.second, *(effect.against or ())} <= set(keys)

    def test_a_user_that_stays_with_a_node(self) -> None:
        """Five entries, each in front of the front end and the member of its own node."""
        setup = next(question for question in WHATIFS if question.change == "sticky").setup
        services = setup.topology().services
        entry, members = services["frontend"], services["db"]
        assert isinstance(entry, Haproxy) and isinstance(members, Galera)
        assert entry.reach == "local"
        assert set(entry.sites) == set(members.members) and len(entry.sites) == 5

    def test_latency_stands_between_the_remote_cluster_and_everything_else(self) -> None:
        """The round trip is that of every link of the remote cluster, and of no other."""
        for setup in SETUPS.values():
            for link in setup.topology().links:
                far = "remote" in link.between and setup.rtt != 0
                assert link.rtt == pytest.approx(0.03 if far else 0.0002)


class TestClosedForms:
    """What no request simulates."""

    def test_how_far_a_primary_is_from_the_front_ends(self) -> None:
        """Three of five are near the local cluster, two of five near the remote one."""
        assert distance(SETUPS[FAR], "local").mean == pytest.approx(2 / 5 * 0.03)
        assert distance(SETUPS[FAR], "remote").far == pytest.approx(3 / 5)

    def test_a_page_with_a_session(self) -> None:
        """One command to read, six more to save."""
        read, save = session_delay(SETUPS[FAR], "local")
        assert read == pytest.approx(0.012) and save == pytest.approx(0.084)

    def test_reads_at_a_replica(self) -> None:
        """A client's token is made in transactions alone: there is nothing to move."""
        whole, apart = replica_reads_save("access-token", 0.03)
        assert whole == apart == pytest.approx(92 * 0.03)
        assert replica_reads_save("refresh", 0.03)[1] == pytest.approx(122 * 0.03)


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

    def test_one_gain_against_another(self) -> None:
        """Twice as much here and four times there is half."""
        c, d = ("x", "refresh", "no pause"), ("y", "refresh", "no pause")
        found = results([1.0, 2.0], [2.0, 4.0])
        found.values |= {c: {"throughput": [1.0, 3.0]}, d: {"throughput": [4.0, 12.0]}}
        effect = Effect("gain", "throughput", A, B, "below", against=(c, d))
        assert effect.measured(found).value == pytest.approx(0.5)
        assert effect.outcome(found) == "agrees"

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
        assert interval(Estimated(0.123456, 0.1, 1234.5)) == "0.123 (0.1 – 1230)"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (0.5, "0.5"),
            (1234567.0, "1230000"),
            (99.96, "100"),
            (0.00012345, "0.000123"),
            (-2.5, "-2.5"),
        ],
    )
    def test_three_digits(self, value: float, text: str) -> None:
        """Whatever their size."""
        assert number(value) == text

    def test_every_failure_has_a_code(self) -> None:
        """The shares by HTTP code add up to the failed share: each outcome but success is in one of them."""
        assert sorted(kind for kinds in CODES.values() for kind in kinds) == sorted(set(OUTCOMES) - {"ok"})

    def test_codes_that_did_not_occur_are_not_listed(self) -> None:
        """Only those that did."""
        found = Results({A: {key: [0.0, 0.0] for key in CODES} | {"401": [0.01, 0.03]}})
        assert codes(found, A) == "401: 2"

    def test_requests_of_a_day(self) -> None:
        """Those that were answered are a share of all: 1 per second at 20 % failures is 1.25 per second."""
        found = Results({A: {"throughput": [1.0], "failed": [0.2]}})
        assert per_day(found, A) == [pytest.approx(1.25 * 86_400)]

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
        for one in findings():
            assert f"{one.name}: {one.claim}" in written
        assert "nan" not in written and "TODO" not in written
        for picture in re.findall(r"\]\((findings/[^)]*)\)", written):
            assert (tmp_path / picture).stat().st_size < 40_000 or picture.endswith(".json")
        assert command.main(words) == 0
        assert output.read_text() == written

    def test_the_page_of_record_is_not_overwritten_by_a_small_run(self) -> None:
        """Rough numbers need another file."""
        with pytest.raises(SystemExit):
            command.main(["--quick"])

    def test_the_page_of_record_is_what_its_record_gives(self) -> None:
        """Nobody has changed a number by hand."""
        record = command.PAGE.with_suffix("") / "results.json"
        assert command.text_of(json.loads(record.read_text())) == command.PAGE.read_text()
