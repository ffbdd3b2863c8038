"""What requests cost more after a pause: measured at rest, part of a calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from sim.estimates import Estimate, Plain

PAUSE = 0.2
"""Seconds after which caches are as cold as they get."""

FLOOR = 0.1
"""Least relative standard error: neighbours on the host differ between sittings."""


class Refill(Plain):
    """CPU that a process's work costs more after a long pause than without one (`sim.protocols.caches`).

    Attributes:
        app: of the identity service.
        db: of the database.
    """

    app: Estimate
    db: Estimate


def fitted(usual: Sequence[float], rested: Sequence[float]) -> Estimate:
    """From the CPU of equal requests, a few milliseconds and `PAUSE` after the last one: medians."""
    mean = max(0.0, median(rested) - median(usual))
    sem = math.hypot(_error(usual), _error(rested))
    return Estimate(mean=mean, sem=max(sem, FLOOR * mean) if mean else 0.0)


def _error(values: Sequence[float]) -> float:
    middle = median(values)
    deviation = 1.4826 * median([abs(value - middle) for value in values])
    return 1.2533 * deviation / math.sqrt(len(values))
