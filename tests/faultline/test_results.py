"""A run's results: claims and predictions against one measurement."""

from __future__ import annotations

import json

import pytest

from experiments.hypothesis import Hypothesis, Scope
from experiments.metrics import MetricValue
from faultline.results import judge_hypothesis, judge_run
from faultline.verdict import Interval, Verdict

RECOVERY = Hypothesis(metric="recovery_time", scope=Scope(flow="health"), expect="<= 10s")
RATIO = Hypothesis(metric="success_ratio", scope=Scope(flow="workflow"), expect=">= 99%")
LOST = Hypothesis(metric="lost_commits", expect="<= 0")


class TestHypothesis:
    """A claim is judged on the measured value alone."""

    @pytest.mark.parametrize(
        ("value", "verdict"),
        [
            (MetricValue(4.0, 900, "s", 0.05), Verdict.HELD),
            (MetricValue(0.0, 900, "s", 0.05), Verdict.HELD),
            (MetricValue(12.0, 900, "s", 0.05), Verdict.DEVIATED),
            (MetricValue(9.97, 900, "s", 0.05), Verdict.INCONCLUSIVE),  # closer than one probe
            (MetricValue(10.03, 900, "s", 0.05), Verdict.INCONCLUSIVE),
            (MetricValue(4.0, 3, "s", 0.05), Verdict.INCONCLUSIVE),  # three probes
            (MetricValue(12.0, 900, "s", 0.05, censored=True), Verdict.DEVIATED),  # at least 12
            (MetricValue(4.0, 900, "s", 0.05, censored=True), Verdict.INCONCLUSIVE),  # perhaps more
            (None, Verdict.INCONCLUSIVE),
        ],
    )
    def test_upper_limit(self, value: MetricValue | None, verdict: Verdict) -> None:
        """Within the limit holds; too close, too few or cut off cannot be told."""
        assert judge_hypothesis(RECOVERY, value).verdict is verdict

    def test_a_lower_limit_is_settled_by_a_lower_bound(self) -> None:
        """`>= 5s` of a value that is at least 6 s holds; of one that is at least 4 s it is open."""
        claim = Hypothesis(metric="recovery_time", scope=Scope(flow="health"), expect=">= 5s")
        assert judge_hypothesis(claim, MetricValue(6.0, 900, "s", 0.05, True)).verdict is Verdict.HELD
        assert judge_hypothesis(claim, MetricValue(4.0, 900, "s", 0.05, True)).verdict is Verdict.INCONCLUSIVE

    def test_exact_counts_are_compared_exactly(self) -> None:
        """No lost commit is none, and a ratio has no instrument that blurs it."""
        assert judge_hypothesis(LOST, MetricValue(0.0, 2000, "count")).verdict is Verdict.HELD
        assert judge_hypothesis(LOST, MetricValue(1.0, 2000, "count")).verdict is Verdict.DEVIATED
        assert judge_hypothesis(RATIO, MetricValue(1.0, 2000, "ratio", 0.0005)).verdict is Verdict.HELD


def metrics(inside: int, outside: int) -> tuple[dict[str, Interval], dict[str, MetricValue]]:
    """Headline metrics of which so many lie inside their interval and so many outside."""
    keys = [f"time_to{{event=e{index}}}@whole" for index in range(inside + outside)]
    intervals = {key: Interval(9.0, 10.0, 11.0) for key in keys}
    values = {key: MetricValue(10.0 if i < inside else 15.0, 1, "s") for i, key in enumerate(keys)}
    return intervals, values


class TestRun:
    """The verdict on a run."""

    def test_single_misses_are_expected(self) -> None:
        """Nine of ten 90 % intervals containing their value is what they promise."""
        result = judge_run(*metrics(9, 1), [])
        assert result.verdict is Verdict.HELD
        assert sum(metric.verdict is Verdict.DEVIATED for metric in result.metrics) == 1

    def test_too_many_misses_deviate(self) -> None:
        """Half of ten is no chance."""
        assert judge_run(*metrics(5, 5), []).verdict is Verdict.DEVIATED

    def test_a_failed_claim_fails_a_right_prediction(self) -> None:
        """The run is the worst of both: that the outage was foreseen does not make it acceptable."""
        intervals, values = metrics(10, 0)
        values[str(RECOVERY.key)] = MetricValue(30.0, 900, "s", 0.05)
        result = judge_run(intervals, values, [RECOVERY])
        assert result.prediction.verdict is Verdict.HELD
        assert result.verdict is Verdict.DEVIATED

    def test_certainties_do_not_pad_the_count(self) -> None:
        """Forty zeros that nobody doubted do not outweigh five wrong latencies."""
        intervals, values = metrics(5, 5)
        for index in range(40):
            key = f"time_to{{event=never{index}}}@whole"
            intervals[key], values[key] = Interval(55.0, 55.0, 55.0), MetricValue(55.0, 0, "s", censored=True)
        result = judge_run(intervals, values, [])
        assert result.verdict is Verdict.DEVIATED
        assert sum(metric.counted for metric in result.metrics) == 10

    def test_a_broken_certainty_counts(self) -> None:
        """`No commit will be lost` is part of the score when one is."""
        intervals, values = metrics(1, 1)
        intervals["lost_commits@whole"] = Interval(0.0, 0.0, 0.0)
        values["lost_commits@whole"] = MetricValue(3.0, 900, "count")
        result = judge_run(intervals, values, [])
        assert sum(metric.counted for metric in result.metrics) == 3
        assert result.verdict is Verdict.DEVIATED

    def test_a_disturbed_lab_makes_everything_inconclusive(self) -> None:
        """Good or bad, nothing measured on a disturbed lab counts, and the reason is told."""
        intervals, values = metrics(5, 5)
        values[str(RECOVERY.key)] = MetricValue(30.0, 900, "s", 0.05)
        result = judge_run(intervals, values, [RECOVERY], ["relay up to 14 ms late"])
        judged = [*result.metrics, *result.hypotheses]
        assert {one.verdict for one in judged} == {Verdict.INCONCLUSIVE}
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "relay up to 14 ms late" in result.reason

    def test_what_was_predicted_and_not_measured_is_inconclusive(self) -> None:
        """A metric without a value is neither right nor wrong."""
        intervals, values = metrics(10, 0)
        del values["time_to{event=e0}@whole"]
        result = judge_run(intervals, values, [])
        assert result.metrics[0].verdict is Verdict.INCONCLUSIVE
        json.dumps(result.to_json(), allow_nan=False)
