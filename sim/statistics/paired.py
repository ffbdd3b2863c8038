"""Two systems under the same random numbers: the difference, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.statistics.intervals import CONFIDENCE_LEVEL, confidence_interval


@dataclass(frozen=True)
class PairedDifference:
    """Second less first, over replications that share their random numbers.

    Attributes:
        n: pairs.
        first, second: means of both sides over the pairs.
        difference: mean of second less first.
        interval: where the true mean difference is.
        level: of the interval.
        correlation: of the two sides; None when one of them never varies.
        gain: how many times more independent replications the same interval would have taken;
            below one the common random numbers did harm. None when nothing varies.
    """

    n: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    level: float
    correlation: float | None
    gain: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval leaves zero out: the two differ."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def relative(self) -> float | None:
        """The difference as a share of the first side's mean; None when that is zero."""
        return self.difference / self.first if self.first else None


def paired_difference(
    first: Sequence[float], second: Sequence[float], level: float = CONFIDENCE_LEVEL
) -> PairedDifference:
    """Student's interval of the mean difference of pairs (Law, Simulation Modeling and Analysis, 10.2.1).

    With common random numbers both sides meet the same users, the same think times and the same
    luck: what they share cancels in each pair, and the interval is narrower than that of two
    independent means.

    Raises:
        ValueError: the sides differ in length, or there are fewer than two pairs.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError("a paired difference needs two sides of the same length, two pairs at least")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    differences = b - a
    variance = float(differences.var(ddof=1))
    apart = float(a.var(ddof=1) + b.var(ddof=1))
    product = float(a.std(ddof=1) * b.std(ddof=1))
    covariance = float(((a - a.mean()) * (b - b.mean())).sum()) / (len(a) - 1)
    return PairedDifference(
        n=len(a),
        first=float(a.mean()),
        second=float(b.mean()),
        difference=math.fsum(differences.tolist()) / len(a),
        interval=confidence_interval(differences.tolist(), level),
        level=level,
        correlation=max(-1.0, min(1.0, covariance / product)) if product > 0 else None,
        gain=apart / variance if variance > 0 else None,
    )
