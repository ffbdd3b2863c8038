"""One long run: where its beginning ends, and how well its mean is known although it remembers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sim.statistics.distributions import normal_quantile, student_quantile
from sim.statistics.intervals import CONFIDENCE_LEVEL


def mser(values: ArrayLike, batch: int = 5) -> int:
    """Number of initial observations to drop by MSER-5 (White 1997).

    Batch means of ``batch`` observations; drop the beginning that minimises the marginal
    standard error of the rest. A minimum in the second half is no evidence of a steady state:
    half of the series is dropped then. Takes time linear in the number of observations.

    Returns:
        A multiple of ``batch``; 0 for a series shorter than two batches.
    """
    data = np.asarray(values, dtype=np.float64)
    count = len(data) // batch
    if count < 2:
        return 0
    means = data[: count * batch].reshape(count, batch).mean(axis=1)
    # Centred first: sums of squares of what is left lose no digits to a large mean.
    means = means - means.mean()
    drops = np.arange(count // 2 + 1)
    left = count - drops
    sums = np.cumsum(means[::-1])[::-1][drops]
    squares = np.cumsum((means * means)[::-1])[::-1][drops]
    errors = np.maximum(squares - sums * sums / left, 0.0) / left.astype(np.float64) ** 2
    # The first of nearly equal minima: nothing is dropped for a rounding error.
    slack = 1e-12 * float(errors[0]) + 1e-300
    return int(np.flatnonzero(errors <= errors.min() + slack)[0]) * batch


@dataclass(frozen=True)
class BatchMeans:
    """The mean of one long run by batches.

    Attributes:
        mean: of all observations in whole batches.
        interval: where the mean of an endless run is.
        standard_error: of the mean.
        batches: how many.
        size: observations per batch.
        correlated: neighbouring batches resemble each other (von Neumann's ratio, 5 % level): the
            batches are too short and the interval too narrow.
    """

    mean: float
    interval: tuple[float, float]
    standard_error: float
    batches: int
    size: int
    correlated: bool


def batch_means(values: ArrayLike, batches: int = 30, level: float = CONFIDENCE_LEVEL) -> BatchMeans:
    """Interval of the mean of a correlated series (cut its warm-up off before, :func:`mser`).

    Observations that make no whole batch are left out at the beginning, which remembers the start
    the most. Student's interval of the batch means (Law, Simulation Modeling and Analysis, 9.5.3).

    Raises:
        ValueError: fewer than two batches, or fewer observations than batches.
    """
    data = np.asarray(values, dtype=np.float64)
    size = len(data) // batches if batches else 0
    if batches < 2 or size < 1:
        raise ValueError(f"{len(data)} observations do not make {batches} batches")
    means = data[len(data) - batches * size :].reshape(batches, size).mean(axis=1)
    return of_batches(means, size, level)


def of_batches(means: ArrayLike, size: int, level: float = CONFIDENCE_LEVEL) -> BatchMeans:
    """The same from batch means that were taken on the way."""
    found = np.asarray(means, dtype=np.float64)
    count = len(found)
    mean = float(found.mean())
    error = float(found.std(ddof=1)) / math.sqrt(count)
    half = student_quantile((1 + level) / 2, count - 1) * error
    return BatchMeans(mean, (mean - half, mean + half), error, count, size, _correlated(found))


def _correlated(means: np.typing.NDArray[np.float64]) -> bool:
    """One-sided von Neumann test: ratio of successive differences to the variance, 2 when independent."""
    count = len(means)
    spread = float(((means - means.mean()) ** 2).sum())
    if count < 4 or spread == 0:
        return False
    ratio = float((np.diff(means) ** 2).sum()) / spread
    deviation = math.sqrt((count - 2) / (count * count - 1))
    return (1 - ratio / 2) / deviation > normal_quantile(0.95)
