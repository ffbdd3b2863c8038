"""The machine that a lab runs on: what it leaves to the sites once the lab itself has been served."""

from __future__ import annotations

from experiments.workload import STEPS, Workload
from sim.calibration import Calibration
from topologies.model import Topology

CLUSTER_BUSY = 0.1
"""Cores that a cluster uses for itself while nothing happens (0.08 to 0.12 were seen on kind 0.30)."""


def cores_for_sites(topology: Topology, workload: Workload, calibration: Calibration, clusters: int) -> float:
    """Cores of the calibrated machine that are left to all sites together.

    Load generators, relay and VPN take `load_cpu` per request, clusters `CLUSTER_BUSY` each. They are
    in groups of their own, so the sites keep at least their fair share, whatever the lab would need.

    Args:
        topology: whose sites share the machine.
        workload: what is asked, and how often.
        calibration: the machine's cores and the CPU that requests cost.
        clusters: Kubernetes clusters on the machine.
    """
    cores = float(calibration.machine.cores)
    own = offered(topology, workload, calibration) * calibration.load_cpu.mean + clusters * CLUSTER_BUSY
    sites = len(topology.sites)
    return max(cores - own, cores * sites / (sites + 1))


def offered(topology: Topology, workload: Workload, calibration: Calibration) -> float:
    """Most requests per second that users and probes can send.

    The asymptotic bounds of a closed system (Denning and Buzen 1978): users who never wait for one
    another, and CPUs that are never idle.
    """
    steps = STEPS[workload.flow]
    costs = [calibration.requests[kind] for kind in steps if kind in calibration.requests]
    work = sum(cost.app_cpu.mean + cost.db_cpu.mean for cost in costs)
    granted = sum(site.cpu * site.nodes for site in topology.sites.values())
    rounds = min(granted, calibration.machine.cores) / work if work else float("inf")
    alone = workload.think + work
    if alone:
        rounds = min(rounds, workload.users / alone)
    probes = len(topology.sites) * sum(stream.rate for stream in workload.probes)
    return rounds * len(steps) + probes
