"""What a CPU's caches cost a process that has not run for a while.

Other work, of this machine or of its neighbours on the host, takes the caches meanwhile; the first work
afterwards fetches code and data again. Measured (`python -m benchmarks.site_cpu`; a calm sitting and one
beside busy neighbours in benchmarks/results/site-cpu.txt): an access token costs service and database 4.1 and
4.9 ms of CPU when they have run 3 ms ago, 5.5 and 8.8 ms after 0.3 s. A password, most of which is a hash
with a small working set, costs 1 ms more after a pause, not as many more percent. Calibration tells how much
it is.
"""

from __future__ import annotations

from math import exp

FRESH = 0.005
"""Seconds in which nothing is lost that was there when demands were measured, at rest."""

TIME = 0.012
"""Seconds more in which the larger part is lost: a round figure. Of what 0.3 s cost, a sixth was lost after
10 ms in both sittings; after 30 ms all of it in the calm one, a quarter in the other."""

CROWDED, CROWD = 0.28, 5.0
"""What statements cost more when many others take turns with them on the CPU, and how many make up the larger
part of it. From the same measurements, under half a core on one CPU: 4.2 and 5.5 ms with one user, 4.3 and
5.1 with 8, 5.4 and 6.6 with 24, 5.0 and 7.2 with 40."""


def refill(idle: float, others: int, demand: float, most: float) -> float:
    """CPU seconds that work costs more because its process, or its thread, has not run.

    Args:
        idle: seconds since its process ran; negative while it still does.
        others: that are at work on the CPU and take turns with it.
        demand: CPU seconds of the work with warm caches; it fetches no more than it uses, so it takes twice
            its time at worst.
        most: CPU seconds after a long pause; 0: no caches are simulated.
    """
    if most == 0.0:
        return 0.0
    extra = CROWDED * (1.0 - exp(-others / CROWD)) * demand if others > 0 else 0.0
    if idle > FRESH:
        extra = max(extra, most * (1.0 - exp((FRESH - idle) / TIME)))
    return min(extra, demand)
