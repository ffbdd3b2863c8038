"""The verdict: a lattice of three values, and the rules that assign them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultline.exits import ExitCode
from faultline.verdict import (
    Interval,
    Judgement,
    Measured,
    Verdict,
    chance_of_so_few,
    disturbed,
    is_headline,
    is_too_wide,
    judge_metric,
    judge_prediction,
    metric_name,
    worst,
)

VERDICTS = st.sampled_from(list(Verdict))
THROUGHPUT = "throughput@whole"


class TestLattice:
    """`worst` is the join of held < inconclusive < deviated."""

    @given(VERDICTS, VERDICTS, VERDICTS)
    def test_algebra(self, a: Verdict, b: Verdict, c: Verdict) -> None:
        """It is commutative, associative and idempotent, and absorbs nothing but what is worse."""
        assert worst([a, b]) == worst([b, a])
        assert worst([worst([a, b]), c]) == worst([a, worst([b, c])])
        assert worst([a, a]) == a
        assert worst([a, b]) in {a, b}

    @given(VERDICTS)
    def test_bounds(self, a: Verdict) -> None:
        """Held is neutral, deviated is absorbing, and the worst of nothing is held."""
        assert worst([a, Verdict.HELD]) == a
        assert worst([a, Verdict.DEVIATED]) == Verdict.DEVIATED
        assert worst([]) == Verdict.HELD

    @given(st.lists(VERDICTS))
    def test_more_verdicts_never_improve(self, verdicts: list[Verdict]) -> None:
        """Adding a verdict cannot make the exit code those of a better run."""
        order = [Verdict.HELD, Verdict.INCONCLUSIVE, Verdict.DEVIATED]
        for end in range(len(verdicts)):
            assert order.index(worst(verdicts[: end + 1])) >= order.index(worst(verdicts[:end]))

    def test_exit_codes(self) -> None:
        """0 held, 1 deviated, 2 inconclusive."""
        assert Verdict.HELD.exit_code == ExitCode.HELD == 0
        assert Verdict.DEVIATED.exit_code == ExitCode.DEVIATED == 1
        assert Verdict.INCONCLUSIVE.exit_code == ExitCode.INCONCLUSIVE == 2


class TestMetric:
    """One measured value against its interval."""

    @given(
        low=st.floats(0, 1e3),
        width=st.floats(0, 1e3),
        value=st.floats(0, 3e3),
        resolution=st.floats(0, 10),
    )
    def test_deviated_is_outside_by_more_than_the_resolution(
        self, low: float, width: float, value: float, resolution: float
    ) -> None:
        """A value deviates exactly when it is farther outside than the instrument resolves."""
        interval = Interval(low, low + width / 2, low + width)
        verdict = judge_metric(THROUGHPUT, interval, Measured(value, 1000, resolution)).verdict
        outside = value < low - resolution or value > low + width + resolution
        assert (verdict is Verdict.DEVIATED) == outside

    def test_inside_a_narrow_interval_holds(self) -> None:
        """The plain case."""
        judged = judge_metric(THROUGHPUT, Interval(38, 40, 42), Measured(41, 3000))
        assert judged == Judgement(Verdict.HELD, "inside")

    def test_inside_a_wide_interval_tells_nothing(self) -> None:
        """An interval beyond ±100 % of its point is inconclusive inside and still wrong outside."""
        wide = Interval(0.0, 4.0, 12.0)
        key = "recovery_time{flow=health,site=edi}@whole"
        assert is_too_wide(key, wide)
        assert judge_metric(key, wide, Measured(6.0, 900)).verdict is Verdict.INCONCLUSIVE
        assert judge_metric(key, wide, Measured(30.0, 900)).verdict is Verdict.DEVIATED

    def test_a_small_absolute_width_is_never_too_wide(self) -> None:
        """Near zero, an interval is judged by its width in the metric's unit: 0 to 1 % says much."""
        assert not is_too_wide("error_ratio{kind=timeout}@fault", Interval(0.0, 0.001, 0.01))
        assert is_too_wide("error_ratio{kind=timeout}@fault", Interval(0.0, 0.1, 0.5))

    @pytest.mark.parametrize(
        ("key", "enough"), [("latency_p50@whole", 10), ("latency_p95@fault", 100), ("latency_p99@fault", 500)]
    )
    def test_quantiles_need_samples_beyond_them(self, key: str, enough: int) -> None:
        """With fewer than five observations beyond a quantile nothing is said, in or out."""
        interval = Interval(0.1, 0.11, 0.12)
        assert judge_metric(key, interval, Measured(0.11, enough)).verdict is Verdict.HELD
        for value in (0.11, 9.0):
            few = judge_metric(key, interval, Measured(value, enough - 1))
            assert few.verdict is Verdict.INCONCLUSIVE
            assert str(enough) in few.reason

    def test_nothing_to_compare_is_inconclusive(self) -> None:
        """Without a prediction, or without a measurement, there is no verdict."""
        never = Interval(None, None, None)
        assert judge_metric(THROUGHPUT, never, Measured(7.0, 99)).verdict is Verdict.INCONCLUSIVE
        some = Interval(1.0, 2.0, 3.0)
        assert judge_metric(THROUGHPUT, some, Measured(None, 0)).verdict is Verdict.INCONCLUSIVE

    def test_a_value_cut_off_by_the_end_is_a_lower_bound(self) -> None:
        """An outage still going on at the end can be longer than predicted, never shorter."""
        key = "recovery_time{flow=health}@whole"
        interval = Interval(50.0, 55.0, 60.0)
        assert judge_metric(key, interval, Measured(70.0, 99, 0.05, True)).verdict is Verdict.DEVIATED
        assert judge_metric(key, interval, Measured(30.0, 99, 0.05, True)).verdict is Verdict.INCONCLUSIVE
        assert judge_metric(key, interval, Measured(30.0, 99, 0.05)).verdict is Verdict.DEVIATED

    @pytest.mark.parametrize(
        ("key", "faulted", "headline"),
        [
            ("throughput{flow=workflow}@fault", True, True),
            ("throughput{flow=workflow}@whole", True, False),
            ("throughput{flow=workflow}@whole", False, True),
            ("throughput{site=ral,flow=workflow}@fault", True, False),
            ("recovery_time{flow=health}@whole", True, True),
            ("error_ratio{flow=workflow,kind=timeout}@whole", True, False),
            ("latency_p99{flow=workflow}@fault", True, False),
        ],
    )
    def test_headlines_are_of_the_service_as_a_whole(self, key: str, faulted: bool, headline: bool) -> None:
        """A break-down by site, and the whole of parts that are shown, are not counted twice."""
        assert is_headline(key, faulted) is headline

    def test_metric_name_strips_scope_and_window(self) -> None:
        """Rules go by the bare name."""
        assert metric_name("latency_p95{site=ral}@fault") == metric_name("latency_p95@whole") == "latency_p95"


class TestPrediction:
    """The prediction as a whole."""

    @given(st.integers(1, 60), st.data())
    def test_chance_is_a_distribution_function(self, scored: int, data: st.DataObject) -> None:
        """It grows with the hits and reaches one."""
        inside = data.draw(st.integers(0, scored))
        assert chance_of_so_few(scored, scored) == pytest.approx(1.0)
        assert 0 < chance_of_so_few(inside, scored) <= 1 + 1e-12
        if inside:
            assert chance_of_so_few(inside - 1, scored) < chance_of_so_few(inside, scored)

    def test_closed_forms(self) -> None:
        """None inside is 0.1^n; all but at most one missing is one minus 0.9^n."""
        assert chance_of_so_few(0, 3) == pytest.approx(1e-3)
        assert chance_of_so_few(9, 10) == pytest.approx(1 - 0.9**10)

    @pytest.mark.parametrize(
        ("inside", "scored", "verdict"),
        [
            (10, 10, Verdict.HELD),
            (7, 10, Verdict.HELD),  # P(X <= 7) = 0.070
            (6, 10, Verdict.DEVIATED),  # P(X <= 6) = 0.013
            (16, 20, Verdict.HELD),  # 0.133
            (15, 20, Verdict.DEVIATED),  # 0.043
            (0, 1, Verdict.INCONCLUSIVE),  # 0.1: one miss can always be chance
            (0, 2, Verdict.DEVIATED),  # 0.01
            (0, 0, Verdict.INCONCLUSIVE),
        ],
    )
    def test_so_few_that_it_is_no_chance(self, inside: int, scored: int, verdict: Verdict) -> None:
        """Deviated below 5 %, held otherwise, inconclusive with too few to tell."""
        verdicts = [Verdict.HELD] * inside + [Verdict.DEVIATED] * (scored - inside)
        assert judge_prediction(verdicts).verdict is verdict

    def test_mostly_inconclusive_is_inconclusive(self) -> None:
        """A few lucky hits among many unknowns do not make a good prediction."""
        verdicts = [Verdict.HELD] * 4 + [Verdict.INCONCLUSIVE] * 5
        assert judge_prediction(verdicts).verdict is Verdict.INCONCLUSIVE

    def test_adr_examples(self) -> None:
        """The examples in docs/decisions/0003-run-verdict.md are the first counts that are too few."""
        for inside, scored in ((5, 9), (9, 13), (15, 20)):
            assert chance_of_so_few(inside, scored) < 0.05 < chance_of_so_few(inside + 1, scored)

    def test_a_disturbed_lab_says_nothing(self) -> None:
        """Whatever the numbers were, the judgement becomes inconclusive; where the value fell is kept."""
        for verdict in Verdict:
            assert disturbed(Judgement(verdict, "above")) == Judgement(Verdict.INCONCLUSIVE, "above")
