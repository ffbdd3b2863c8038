"""Claims are read in the metric's own unit, and what cannot be claimed is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.catalogue import CATALOGUE, UNIT_SPELLING, MetricKey, spell_value
from experiments.hypothesis import Hypothesis, read_expectation
from experiments.workload import Workload
from topologies.loader import load


def claim(metric: str = "success_ratio", expect: str = ">= 99%", **more: object) -> Hypothesis:
    """A hypothesis."""
    return Hypothesis.model_validate({"metric": metric, "expect": expect, **more})


class TestExpectation:
    """`>= 99%` and its relatives."""

    @pytest.mark.parametrize(
        ("metric", "expect", "comparator", "value"),
        [
            ("success_ratio", ">= 99%", ">=", 0.99),
            ("latency_p95", "<= 250ms", "<=", 0.25),
            ("latency_p95", "<2min", "<", 120.0),
            ("throughput", "> 5/s", ">", 5.0),
            ("throughput", "> 120/min", ">", 2.0),
            ("lost_commits", "<= 0", "<=", 0.0),
            ("in_doubt_commits", "< 3", "<", 3.0),
            ("stale_reads", "<= 0", "<=", 0.0),
        ],
    )
    def test_is_read_in_the_base_unit(self, metric: str, expect: str, comparator: str, value: float) -> None:
        """Percent become a ratio, times seconds, rates per second; zero needs no unit."""
        hypothesis = claim(metric, expect)
        assert (hypothesis.comparator, hypothesis.value) == (comparator, pytest.approx(value))

    @pytest.mark.parametrize(
        ("metric", "expect", "why"),
        [
            ("success_ratio", ">= 0.99", "share in percent"),
            ("success_ratio", ">= 10s", "'10s' is not a share in percent"),
            ("latency_p95", "<= 10%", "'10%' is not a time"),
            ("latency_p95", "<= 10", "ms"),
            ("throughput", ">= 5s", "'5s' is not a rate"),
            ("lost_commits", "<= 1s", "'1s' is not a plain number"),
            ("success_ratio", "99%", "write a comparison"),
            ("success_ratio", "= 99%", "write a comparison"),
            ("success_ratio", ">=", "write a comparison"),
        ],
    )
    def test_a_wrong_unit_is_told_the_right_one(self, metric: str, expect: str, why: str) -> None:
        """The message names what the metric is measured in and gives an example."""
        with pytest.raises(ValidationError, match=why):
            claim(metric, expect)

    @given(st.sampled_from(sorted(CATALOGUE)), st.sampled_from([">=", "<=", ">", "<"]), st.floats(0, 1000))
    def test_what_is_spelt_reads_back(self, name: str, sign: str, value: float) -> None:
        """Writing a value for people and reading it again gives it back to six digits."""
        unit = CATALOGUE[name].unit
        text = f"{sign} {spell_value(value, unit)}"
        assert read_expectation(text, unit) == (sign, pytest.approx(value, rel=1e-5, abs=1e-6))

    @given(st.text(max_size=20), st.sampled_from(sorted(UNIT_SPELLING)))
    def test_nonsense_is_a_value_error(self, text: str, unit: str) -> None:
        """Any text is either read or refused with a ValueError, nothing else."""
        try:
            sign, _ = read_expectation(text, unit)  # type: ignore[arg-type]
        except ValueError:
            return
        assert text.strip().startswith(sign)

    def test_holds_compares_as_written(self) -> None:
        """The bound itself belongs to `>=` and not to `>`; what is no number holds nothing."""
        assert claim(expect=">= 50%").holds(0.5) and not claim(expect="> 50%").holds(0.5)
        assert claim("latency_p50", "<= 1s").holds(1.0) and not claim("latency_p50", "< 1s").holds(1.0)
        assert not claim(expect=">= 0%").holds(float("nan"))


class TestScope:
    """Where a metric can be looked at."""

    @pytest.mark.parametrize(
        ("metric", "more", "why"),
        [
            ("succes_ratio", {}, "did you mean 'success_ratio'"),
            ("success_ratio", {"scope": {"kind": "timeout"}}, "not computed per kind"),
            ("success_ratio", {"scope": {"site": "ral", "request": "refresh"}}, "request with site"),
            ("recovery_time", {}, "needs 'flow'"),
            ("error_ratio", {}, "needs 'kind'"),
            ("error_ratio", {"scope": {"kind": "conflcit"}}, "did you mean 'conflict'"),
            ("error_ratio", {"scope": {"kind": "stale"}}, "use stale_reads"),
            ("time_to", {"scope": {"event": "galera.vieww"}}, "did you mean 'galera.view'"),
            ("lost_commits", {"scope": {"site": "ral"}}, "has no scope"),
            ("recovery_time", {"scope": {"flow": "health"}, "during": "fault"}, "whole run only"),
        ],
    )
    def test_what_is_not_computed_cannot_be_claimed(
        self, metric: str, more: dict[str, object], why: str
    ) -> None:
        """Scopes and windows are those of the catalogue; the message says which."""
        expect = {"s": "<= 1s", "ratio": "<= 1%", "count": "<= 1"}[
            CATALOGUE[metric].unit if metric in CATALOGUE else "ratio"
        ]
        with pytest.raises(ValidationError, match=why):
            claim(metric, expect, **more)

    def test_the_key_is_the_text_form_of_reduce(self) -> None:
        """The flow of the users is filled in; the order of scope keys is fixed."""
        hypothesis = claim(scope={"site": "ral"}, during="fault").completed(Workload())
        assert str(hypothesis.key) == "success_ratio{site=ral,flow=workflow}@fault"
        assert MetricKey.parse(str(hypothesis.key)) == hypothesis.key

    def test_workload_and_topology_must_know_what_is_named(self) -> None:
        """Flows, requests, sites and events that are not there are found."""
        topology = load("iris-2site-replication", size="lab")
        workload = Workload(probes=())

        def messages(**more: object) -> list[str]:
            found = Hypothesis.model_validate(more).misfits(workload, topology)
            return [f"{part.message} {part.hint}" for part in found]

        assert "no probe" in messages(metric="availability", scope={"flow": "health"}, expect="> 9%")[0]
        assert (
            "no users of flow" in messages(metric="throughput", scope={"flow": "refresh"}, expect="> 9/s")[0]
        )
        assert "no request" in messages(metric="throughput", scope={"request": "health"}, expect="> 9/s")[0]
        assert "not a site" in messages(metric="throughput", scope={"site": "mars"}, expect="> 9/s")[0]
        assert "no Galera" in messages(metric="time_to", scope={"event": "galera.view"}, expect="< 9s")[0]
