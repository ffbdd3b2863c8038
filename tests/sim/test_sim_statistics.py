"""Intervals that cover what they promise to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.statistics import (
    Bounds,
    Precision,
    achieved,
    band,
    batch_means,
    confidence_interval,
    mser,
    paired_difference,
    prediction_interval,
    proportion,
    quantile_interval,
    replications_needed,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60)


def coverage(draw, replications: int, trials: int = 4000) -> float:  # type: ignore[no-untyped-def]
    """How often the prediction interval of ``replications`` draws holds the next draw."""
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(trials):
        sample = draw(generator, replications + 1)
        low, high = prediction_interval(sample[:-1].tolist())
        hits += bool(low <= sample[-1] <= high)
    return hits / trials


class TestPredictionInterval:
    """Where one more run falls."""

    @pytest.mark.parametrize("replications", [19, 20, 40])
    def test_covers_the_next_value_whatever_the_distribution(self, replications: int) -> None:
        """90 % for normal, log-normal and two-humped values alike."""
        for draw in (
            lambda g, n: g.normal(size=n),
            lambda g, n: g.lognormal(0, 1.5, size=n),
            lambda g, n: np.where(g.random(n) < 0.3, g.normal(5, 0.1, n), g.normal(40, 3, n)),
        ):
            assert coverage(draw, replications) == pytest.approx(0.9, abs=0.02)

    def test_few_replications_rest_on_normality(self) -> None:
        """Six normal values: Student's interval (never less than their range) covers at least 90 %."""
        assert 0.88 < coverage(lambda g, n: g.normal(size=n), 6) < 0.93

    def test_counts_are_whole_and_cover(self) -> None:
        """A count's interval ends at whole numbers and covers at least 90 %."""
        generator = np.random.default_rng(3)
        hits = 0
        for _ in range(2000):
            sample = generator.poisson(2.3, 21)
            low, high = prediction_interval(sample[:-1].tolist(), bounds=Bounds(0, whole=True))
            assert low == int(low)
            assert high == int(high)
            hits += bool(low <= sample[-1] <= high)
        assert hits / 2000 > 0.9

    @given(values, st.sampled_from([0.5, 0.8, 0.9]))
    def test_is_ordered_bounded_and_wider_for_more(self, sample: list[float], level: float) -> None:
        """Low <= high, limits are kept, a higher level is no narrower."""
        low, high = prediction_interval(sample, level, Bounds(-10.0, 10.0))
        wide = prediction_interval(sample, 0.95)
        narrow = prediction_interval(sample, 0.5)
        if min(sample) >= -10 and max(sample) <= 10:
            assert low <= high
        assert high <= 10
        assert low >= -10
        assert wide[0] <= narrow[0] + 1e-6 * (1 + abs(narrow[0]))
        assert wide[1] >= narrow[1] - 1e-6 * (1 + abs(narrow[1]))

    def test_one_value_has_no_interval(self) -> None:
        """A point is never given without one."""
        with pytest.raises(ValueError, match="at least two"):
            prediction_interval([1.0])


class TestConfidenceInterval:
    """Where the mean is."""

    def test_shrinks_where_the_prediction_interval_does_not(self) -> None:
        """Four times the replications halve the one and leave the other."""
        generator = np.random.default_rng(4)
        small, large = generator.normal(size=100).tolist(), generator.normal(size=1600).tolist()

        def width(interval: tuple[float, float]) -> float:
            return interval[1] - interval[0]

        assert width(confidence_interval(large)) == pytest.approx(
            width(confidence_interval(small)) / 4, rel=0.2
        )
        assert width(prediction_interval(large)) == pytest.approx(width(prediction_interval(small)), rel=0.2)

    def test_covers_the_mean(self) -> None:
        """95 % of the intervals hold it."""
        generator = np.random.default_rng(5)
        hits = sum(
            low <= 3.0 <= high
            for low, high in (confidence_interval(generator.normal(3, 2, 10).tolist()) for _ in range(3000))
        )
        assert hits / 3000 == pytest.approx(0.95, abs=0.015)


class TestMser:
    """The warm-up."""

    def test_finds_the_end_of_a_ramp(self) -> None:
        """A series that starts far off is cut about where it arrives."""
        generator = np.random.default_rng(6)
        series = generator.normal(10, 1, 500)
        series[:60] += np.linspace(30, 0, 60)
        assert 40 <= mser(series) <= 80

    def test_leaves_a_steady_series_nearly_whole(self) -> None:
        """Nothing to cut but chance."""
        assert mser(np.random.default_rng(7).normal(10, 1, 1000)) <= 250

    def test_short_series(self) -> None:
        """Too short to tell: nothing is cut."""
        assert mser([]) == 0
        assert mser([1.0] * 9) == 0


def test_band_leaves_gaps_where_little_is_known() -> None:
    """A second that most replications say nothing about has no band."""
    rows = np.array([[1.0, math.nan], [2.0, math.nan], [3.0, 5.0], [4.0, math.nan]])
    low, point, high = band(rows)
    assert low[0] < point[0] == 2.5 < high[0]
    assert np.isnan([low[1], point[1], high[1]]).all()


def test_proportion_is_wilson() -> None:
    """Against the textbook value for 8 of 10 at 95 %; certainty is never claimed from a sample."""
    share, low, high = proportion(8, 10, 0.95)
    assert share == 0.8
    assert low == pytest.approx(0.4901, abs=1e-3)
    assert high == pytest.approx(0.9433, abs=1e-3)
    assert proportion(20, 20)[1] < 1.0


class TestQuantileInterval:
    """Where a quantile of the distribution is."""

    @pytest.mark.parametrize(("quantile", "count"), [(0.5, 20), (0.5, 21), (0.8, 60), (0.95, 200)])
    def test_covers_the_true_quantile_whatever_the_distribution(self, quantile: float, count: int) -> None:
        """At least 95 %, and not much more, for a skewed distribution."""
        generator = np.random.default_rng(11)
        true = -math.log(1 - quantile)
        hits = 0
        for _ in range(2000):
            low, high = quantile_interval(generator.exponential(size=count), quantile)
            hits += bool(low <= true <= high)
        assert 0.94 < hits / 2000 < 0.995

    def test_an_end_that_cannot_be_known_is_open(self) -> None:
        """Ten values say where the 99th percentile begins at the least, never where it ends."""
        low, high = quantile_interval(range(10), 0.99)
        assert low == 8.0
        assert high == math.inf

    @given(values, st.floats(0.05, 0.95))
    def test_holds_the_sample_quantile_and_grows_with_the_level(
        self, sample: list[float], quantile: float
    ) -> None:
        """The interval at 99 % encloses that at 80 %, and both hold the empirical quantile's neighbours."""
        wide, narrow = quantile_interval(sample, quantile, 0.99), quantile_interval(sample, quantile, 0.8)
        assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]

    def test_refuses_what_has_no_answer(self) -> None:
        """No values, or the quantile 1."""
        with pytest.raises(ValueError, match="quantile"):
            quantile_interval([], 0.5)
        with pytest.raises(ValueError, match="quantile"):
            quantile_interval([1.0], 1.0)


def autoregressive(generator: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """A series with mean 10 whose neighbours resemble each other."""
    noise = generator.normal(size=count)
    series = np.empty(count)
    series[0] = noise[0] / math.sqrt(1 - memory**2)
    for index in range(1, count):
        series[index] = memory * series[index - 1] + noise[index]
    return series + 10


class TestBatchMeans:
    """The mean of one long run."""

    def test_covers_the_mean_of_a_series_with_a_memory(self) -> None:
        """95 % of the intervals hold it, where taking the observations for independent covers half."""
        generator = np.random.default_rng(12)
        hits = naive = 0
        for _ in range(300):
            series = autoregressive(generator, 3000, 0.8)
            low, high = batch_means(series, 20).interval
            hits += bool(low <= 10 <= high)
            low, high = confidence_interval(series.tolist())
            naive += bool(low <= 10 <= high)
        assert hits / 300 > 0.9
        assert naive / 300 < 0.65

    def test_says_when_batches_are_too_short(self) -> None:
        """Batches of five observations with a long memory resemble each other; independent ones do not."""
        generator = np.random.default_rng(13)
        assert batch_means(autoregressive(generator, 500, 0.95), 100).correlated
        found = [batch_means(generator.normal(size=3000), 30).correlated for _ in range(200)]
        assert sum(found) / 200 < 0.12

    def test_needs_whole_batches(self) -> None:
        """Ten observations make no thirty batches."""
        with pytest.raises(ValueError, match="30 batches"):
            batch_means(range(10))


class TestPairedDifference:
    """Two systems under common random numbers."""

    def test_what_both_share_cancels(self) -> None:
        """A small difference under large common luck is found; independent luck hides it."""
        generator = np.random.default_rng(14)
        luck = generator.normal(100, 10, 20)
        first = luck + generator.normal(0, 0.1, 20)
        second = luck + 0.5 + generator.normal(0, 0.1, 20)
        paired = paired_difference(first.tolist(), second.tolist())
        assert paired.significant
        assert paired.interval[0] < 0.5 < paired.interval[1]
        assert paired.correlation == pytest.approx(1.0, abs=0.01)
        assert paired.gain is not None
        assert paired.gain > 1000
        assert not paired_difference(first.tolist(), generator.normal(100.5, 10, 20).tolist()).significant

    def test_covers_the_true_difference(self) -> None:
        """95 % of the intervals."""
        generator = np.random.default_rng(15)
        hits = 0
        for _ in range(1500):
            luck = generator.normal(size=8)
            low, high = paired_difference(
                luck.tolist(), (luck + 1 + generator.normal(size=8)).tolist()
            ).interval
            hits += bool(low <= 1 <= high)
        assert hits / 1500 == pytest.approx(0.95, abs=0.02)

    @given(values)
    def test_a_system_does_not_differ_from_itself(self, sample: list[float]) -> None:
        """Difference zero, interval zero."""
        found = paired_difference(sample, sample)
        assert found.difference == 0
        assert found.interval == (0, 0)
        assert not found.significant

    def test_sides_belong_in_pairs(self) -> None:
        """Sides of different lengths cannot be paired."""
        with pytest.raises(ValueError, match="pairs"):
            paired_difference([1.0, 2.0], [1.0])


class TestPrecision:
    """Replications to a wanted half width."""

    def test_reached_or_not(self) -> None:
        """Relative to the mean, but absolute for a ratio; a mean of zero that varies is never known."""
        values = [9.0, 10.0, 11.0, 10.0]
        half = confidence_interval(values)[1] - 10
        assert achieved(values, "s", half / 10 + 1e-9).reached
        assert not achieved(values, "s", half / 10 - 1e-9).reached
        assert achieved([0.5, 0.5], "ratio", 0.01).half_width == 0
        assert achieved([-1.0, 1.0], "s", 0.5).half_width is None
        assert not achieved([-1.0, 1.0], "s", 0.5).reached
        assert not achieved([1.0], "s", 0.5).reached

    def test_the_number_needed_reaches_it(self) -> None:
        """The number foretold from 30 values gives about the wanted half width."""
        generator = np.random.default_rng(16)
        few = generator.normal(10, 2, 30).tolist()
        needed = replications_needed(few, "s", 0.02)
        assert needed is not None
        reached = achieved(generator.normal(10, 2, needed).tolist(), "s", 0.02).half_width
        assert reached == pytest.approx(0.02, rel=0.35)

    @pytest.mark.parametrize(
        "wrong", [{"half_width": 0.0}, {"half_width": 1.0}, {"half_width": 0.1, "cap": 1}]
    )
    def test_impossible_wishes(self, wrong: dict[str, float]) -> None:
        """Refused before anything is simulated."""
        with pytest.raises(ValueError, match=r"half width|cap"):
            Precision(**wrong)  # type: ignore[arg-type]
