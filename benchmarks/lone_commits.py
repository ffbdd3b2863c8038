"""What a lone COMMIT takes beyond its round trips, by members and round trip: handling a group's messages.

    python -m benchmarks.lone_commits      (root, a minute and a half; nothing else may run)

`faultline calibrate` measures it with three members only; that the rest follows is what this shows: the last
column is what `sim.engine.links` adds when it is told the handling that three members at 30 ms gave.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.campaign.cells import Cell
from benchmarks.campaign.lab import StandingLab
from chaos.errors import LabError
from chaos.lab.state import LabState
from faultline.baseline import commit_times
from faultline.signals import patient_with_signals
from sim.analytic import commit_latency, member_delays

COMMITS = 16
MEMBERS = (3, 2, 5)
ROUND_TRIPS = (0.030, 0.100)


def beyond(members: int, rtt: float, lab: StandingLab) -> float:
    """Median seconds of lone COMMITs beyond the links' delays."""
    cell = Cell("lone", members, rtt, "all", 1, 1.0, "access-token")
    lab.up(cell.topology)
    _, delays = member_delays(cell.topology, "db")
    took = commit_times(LabState.read(lab.directory), cell.sites[0], COMMITS, replicated=True)
    return statistics.median(took) - commit_latency(delays, 0)


def messages(members: int) -> int:
    """Messages of others that a lone COMMIT waits for: in two rounds of two members, three of more."""
    return (2 if members == 2 else 3) * (members - 1)


def main() -> int:
    """Measure and print; 64 where that is not possible."""
    each = 0.0
    try:
        with patient_with_signals():
            print(f"{'members':>7} {'RTT ms':>7} {'beyond ms':>10} {'from three ms':>14}")
            for members in MEMBERS:
                lab = StandingLab()
                try:
                    for rtt in ROUND_TRIPS:
                        extra = beyond(members, rtt, lab)
                        each = each or extra / messages(members)
                        told = 1000 * each * messages(members)
                        print(f"{members:7} {1000 * rtt:7.0f} {1000 * extra:10.2f} {told:14.2f}", flush=True)
                finally:
                    lab.close()
    except KeyboardInterrupt:
        return 130
    except LabError as error:
        print(error, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())
