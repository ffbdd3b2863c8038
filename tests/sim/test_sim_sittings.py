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


def test_a_sitting_knows_how_well_it_knows() -> None:
    """Demands differ between sittings, in the median, by 0.5 to 1.5 times the standard errors they claim."""
    sittings = [load(path) for path in sorted(ROOM.glob("*.json"))]
    assert len(sittings) >= 3
    kinds: tuple[Request, ...] = REQUESTS
    found, claimed = [], []
    for kind in kinds:
        for part in ("app_cpu", "db_cpu"):
            estimates = [getattr(one.requests[kind], part) for one in sittings]
            means = [one.mean for one in estimates]
            if statistics.fmean(means) >= FEWEST:
                found.append(variation(means))
                claimed += [one.sem / one.mean for one in estimates]
    assert min(claimed) >= SITTINGS
    assert 0.5 < statistics.median(found) / statistics.median(claimed) < 1.5
