"""Intervals: of a mean, of one more run, of a quantile, of a probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.statistics.distributions import normal_quantile, student_quantile

PREDICTION_LEVEL = 0.9
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class Bounds:
    """Limits that a quantity cannot pass, and whether it is a whole number."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


BOUNDS = {
    "ratio": Bounds(0.0, 1.0),
    "s": Bounds(0.0),
    "/s": Bounds(0.0),
    "count": Bounds(0.0, whole=True),
}
"""By unit of experiments.metrics."""


def confidence_interval(values: Sequence[float], level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
    """Student's interval of the mean over independent replications."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return -math.inf, math.inf
    spread = float(np.std(np.asarray(values), ddof=1))
    half = student_quantile((1 + level) / 2, count - 1) * spread / math.sqrt(count)
    return mean - half, mean + half


def prediction_interval(
    values: Sequence[float], level: float = PREDICTION_LEVEL, bounds: Bounds = Bounds()
) -> tuple[float, float]:
    """Where one more run will fall with probability ``level``.

    With at least ``(1 + level) / (1 - level)`` replications (19 for 90 %) it is made of order
    statistics: the next value of an exchangeable sequence falls between the i-th and the j-th of
    n with probability (j - i)/(n + 1), whatever its distribution, so that recovery times with
    several modes and counts need no assumption. Fractional positions are interpolated. With
    fewer, normality has to be assumed: Student's prediction interval, kept within ``bounds``.
    A count's interval is rounded outwards to whole numbers.

    Raises:
        ValueError: fewer than two replications.
    """
    count = len(values)
    if count < 2:
        raise ValueError("a prediction interval needs at least two replications")
    ordered = sorted(values)
    tail = (1 - level) / 2
    if tail * (count + 1) >= 1 - 1e-9:
        low = _order_statistic(ordered, tail * (count + 1))
        high = _order_statistic(ordered, (1 - tail) * (count + 1))
    else:
        mean = math.fsum(values) / count
        spread = float(np.std(np.asarray(values), ddof=1))
        half = student_quantile(1 - tail, count - 1) * spread * math.sqrt(1 + 1 / count)
        low, high = min(mean - half, ordered[0]), max(mean + half, ordered[-1])
    if bounds.whole:
        low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    return max(low, bounds.low), min(high, bounds.high)


def _order_statistic(ordered: Sequence[float], position: float) -> float:
    """The value at a 1-based, possibly fractional ``position`` of ascending values."""
    position = min(max(position, 1.0), float(len(ordered)))
    below = int(position + 1e-9)
    share = max(0.0, position - below)
    if share < 1e-9 or below == len(ordered):
        return ordered[below - 1]
    return ordered[below - 1] * (1 - share) + ordered[below] * share


def quantile_interval(
    values: ArrayLike, quantile: float, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Where the ``quantile`` of the distribution is, whatever the distribution: two order statistics.

    The number of observations below the true quantile is binomial, so the r-th and the s-th of n
    observations enclose it with the probability of r .. s - 1 successes (David and Nagaraja, Order
    Statistics, 7.1). Each tail gets half of what is left; an end for which there are too few
    observations is infinite rather than too close.

    Raises:
        ValueError: ``quantile`` is not strictly between 0 and 1, or there is no value.
    """
    from scipy.stats import binom  # takes half a second to load

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    if not 0 < quantile < 1 or not count:
        raise ValueError("a quantile interval needs values, and a quantile between 0 and 1")
    tail = (1 - level) / 2
    # Low end: the largest r with P(below < r) <= tail; high end: the smallest s with P(below >= s) <= tail.
    r = int(binom.ppf(tail, count, quantile))
    if binom.cdf(r, count, quantile) <= tail:
        r += 1
    s = int(binom.ppf(1 - tail, count, quantile)) + 1
    low = float(ordered[r - 1]) if r >= 1 else -math.inf
    high = float(ordered[s - 1]) if s <= count else math.inf
    return low, high


def median(values: Sequence[float]) -> float:
    """Middle value."""
    return float(np.median(np.asarray(values)))


def proportion(successes: int, trials: int, level: float = PREDICTION_LEVEL) -> tuple[float, float, float]:
    """A probability estimated from ``trials``: (point, low, high), Wilson's interval."""
    z = normal_quantile((1 + level) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return share, max(0.0, centre - half), min(1.0, centre + half)


def band(rows: NDArray[np.float64], level: float = PREDICTION_LEVEL) -> NDArray[np.float64]:
    """Low, middle and high over replications (rows) for every column; NaN where fewer than half are known."""
    count = rows.shape[1]
    result = np.full((3, count), np.nan)
    for column in range(count):
        known = rows[~np.isnan(rows[:, column]), column]
        if len(known) < 2 or 2 * len(known) < len(rows):
            continue
        low, high = prediction_interval(known.tolist(), level, Bounds(0.0))
        result[:, column] = low, np.median(known), high
    return result
