"""How well one sitting of `faultline calibrate` knows a machine."""

from __future__ import annotations

import statistics
from pathlib import Path

from experiments.workload import Request
from sim.calibration import REQUESTS, load
from sim.fitting import SITTINGS, variation

ROOM = Path(__file__).parents[1] / "corpus" / "sittings"
FEWEST = 0.001
"""Seconds of CPU below which a demand's difference between sittings is no part of any prediction."""


def test_demands_differ_between_sittings_by_what_their_standard_error_says() -> None:
    """The median over CPU demands of their coefficient of variation between calibrations of one day."""
    sittings = [load(path) for path in sorted(ROOM.glob("*.json"))]
    assert len(sittings) >= 3
    kinds: tuple[Request, ...] = REQUESTS
    found = []
    for kind in kinds:
        for part in ("app_cpu", "db_cpu"):
            means = [getattr(one.requests[kind], part).mean for one in sittings]
            if statistics.fmean(means) >= FEWEST:
                found.append(variation(means))
    assert 0.7 * SITTINGS < statistics.median(found) < 1.5 * SITTINGS, found
