"""Intervals that cover what they promise to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.statistics import (
    Bounds,
    band,
    confidence_interval,
    mser,
    prediction_interval,
    proportion,
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
