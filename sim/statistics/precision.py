"""How many replications are enough, and an honest word when they are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.statistics.distributions import student_quantile
from sim.statistics.intervals import CONFIDENCE_LEVEL


@dataclass(frozen=True)
class Precision:
    """A wanted half width of the confidence interval of means.

    Attributes:
        half_width: as a share of the mean; of a ratio, which has a scale of its own, in absolute
            terms (0.01 is one percentage point).
        cap: replications after which to give up.
        metrics: keys it is wanted for; the claimed ones, or throughput and median latency of the
            whole run when nothing is claimed, if left empty.
    """

    half_width: float
    cap: int = 200
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 1:
            raise ValueError("a half width lies between 0 and 1 (0.05 is 5 %)")
        if self.cap < 2:
            raise ValueError("a cap below two replications leaves no interval")


@dataclass(frozen=True)
class Achieved:
    """What became of a wanted precision for one metric.

    Attributes:
        n: replications with a value.
        half_width: reached, in the terms of `Precision.half_width`; None when it cannot be told
            (fewer than two values, or a mean of zero around which values vary).
        reached: whether that is enough.
    """

    n: int
    half_width: float | None
    reached: bool


def half_width(values: Sequence[float], relative: bool, level: float = CONFIDENCE_LEVEL) -> float | None:
    """Half width of Student's confidence interval of the mean, relative to it or absolute."""
    count = len(values)
    if count < 2:
        return None
    spread = float(np.std(np.asarray(values), ddof=1))
    half = student_quantile((1 + level) / 2, count - 1) * spread / math.sqrt(count)
    if half == 0 or not relative:
        return half
    mean = abs(math.fsum(values) / count)
    return half / mean if mean else None


def achieved(values: Sequence[float], unit: str, wanted: float, level: float = CONFIDENCE_LEVEL) -> Achieved:
    """How precisely the mean of ``values`` is known."""
    found = half_width(values, relative=unit != "ratio", level=level)
    return Achieved(len(values), found, found is not None and found <= wanted)


def replications_needed(values: Sequence[float], unit: str, wanted: float) -> int | None:
    """About how many values would reach the half width ``wanted``; None when that cannot be told.

    The half width shrinks with the root of the number: four times as many for half of it.
    """
    found = half_width(values, relative=unit != "ratio")
    if found is None:
        return None
    return max(2, math.ceil(len(values) * (found / wanted) ** 2)) if found > wanted else len(values)
