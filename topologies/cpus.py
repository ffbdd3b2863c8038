"""Which CPU of a lab's machine each site runs on: the lab ties it there, the simulator knows it.

A site of at most one core has one CPU. Were its daemons spread over several, the kernel would hand its
quota to them in slices of 5 ms (`sched_cfs_bandwidth_slice_us`), and a daemon on a CPU without a slice
would stand still, often with a lock that the others wait for (docs/decisions/0013-one-cpu-per-site.md).
"""

from __future__ import annotations

from topologies.model import Topology


def placed(topology: Topology, cpus: int) -> dict[str, int]:
    """The CPU of every site, from 0; empty where a site has more than one core: then none is tied.

    Sites go, in their order, to the CPU on which the fewest cores have been granted so far.

    Args:
        topology: of the lab.
        cpus: how many the machine has.
    """
    if any(site.cpu > 1 for site in topology.sites.values()):
        return {}
    granted = [0.0] * cpus
    places: dict[str, int] = {}
    for name, site in topology.sites.items():
        places[name] = granted.index(min(granted))
        granted[places[name]] += site.cpu * site.nodes
    return places
