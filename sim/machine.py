"""The machine that a lab runs on: which of its cores sites share, and what the lab itself leaves of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.workload import STEPS, Workload
from sim.calibration import Calibration
from topologies import cpus
from topologies.model import Topology

CLUSTER_BUSY = 0.1
"""Cores that a cluster uses for itself while nothing happens (0.08 to 0.12 were seen on kind 0.30)."""


@dataclass(frozen=True)
class Sharing:
    """Which sites of a lab share cores.

    Attributes:
        sets: for every site the index of the set of cores that it shares with others.
        cores: what is left of every set for its sites.
        tied: whether the sets are single CPUs.
    """

    sets: list[int]
    cores: list[float]
    tied: bool


def sharing(topology: Topology, workload: Workload, calibration: Calibration, clusters: int) -> Sharing:
    """Who shares cores with whom in a lab.

    The local lab ties each site to a CPU (`topologies.cpus`); its own processes are not tied and run where
    sites have been granted least. Else, and on Kubernetes, all sites share the whole machine.

    Args:
        topology, workload, calibration, clusters: as of `cores_for_sites`.
    """
    places = {} if clusters else cpus.placed(topology, calibration.machine.cores)
    left = cores_for_sites(topology, workload, calibration, clusters)
    if not places:
        return Sharing([0] * len(topology.sites), [left], tied=False)
    granted = [0.0] * calibration.machine.cores
    tied = [0] * len(granted)
    for site, place in places.items():
        granted[place] += topology.sites[site].cpu * topology.sites[site].nodes
        tied[place] += 1
    level = filled(granted, calibration.machine.cores - left)
    cores = [
        max(1.0 - max(0.0, level - cpu), sites / (sites + 1))
        for cpu, sites in zip(granted, tied, strict=True)
        if sites
    ]
    return Sharing(list(places.values()), cores, tied=True)


def filled(heights: Sequence[float], amount: float) -> float:
    """How high ``amount`` of water stands when it is poured over ``heights``."""
    ground = sorted(heights)
    level = ground[0]
    for count, height in enumerate([*ground[1:], float("inf")], start=1):
        rise = min(height - level, amount / count)
        level += rise
        amount -= rise * count
        if amount <= 0:
            break
    return level


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
