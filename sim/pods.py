"""What a Kubernetes platform adds to a Program: pods with CPU limits, and the nodes they run on.

Every process gets a pod of its own. Its CPU limit is a CFS quota with the kubelet's period, 100 ms by
default, and it acts per period: who has used up its share stands still until the next one
(facts/lab.md). Pods are spread over their site's nodes as the scheduler does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sim.calibration import Calibration, PodTimes
from sim.protocols.kubernetes_workloads import CONTROL_PLANE_CPU, Node, place
from topologies.kubernetes import Role
from topologies.model import Topology

if TYPE_CHECKING:
    from sim.machine import Sharing
    from sim.program import Component, Size

STATEFUL = frozenset({"db", "redis", "sentinel"})
"""Roles that are StatefulSets; the others are Deployments."""

PINNED = frozenset({"db", "sentinel"})
"""Roles with a volume. In lab size it ties a pod to its node: kind's volumes are directories of a node."""

REQUEST_SHARE = 0.1
"""What a pod asks the scheduler for, relative to its limit: a lab asks for little, so that all pods fit."""


def compile_platform(topology: Topology, components: Sequence[Component], size: Size) -> dict[str, Any]:
    """Nodes, and the node of every component's pod, as plain data.

    Returns:
        `settings` (topologies.kubernetes), `nodes` (count per site), `pods` (per component: node,
        requested cores, stateful, pinned) and `gateways` (per site: whether it ends a VPN link).
    """
    settings = topology.kubernetes
    nodes: list[list[Node]] = []
    gateways = []
    for name, site in topology.sites.items():
        linked = any(name in link.between and link.vpn == "wireguard" for link in topology.links)
        gateways.append(linked)
        gateway = REQUEST_SHARE * settings.cpu_limit("gateway", site.cpu) if linked else 0.0
        nodes.append([Node(CONTROL_PLANE_CPU + gateway), *[Node(0.0)] * (site.nodes - 1)])
    taken: dict[tuple[str, str, int, int], int] = {}
    pods = []
    cpus = [site.cpu for site in topology.sites.values()]
    for component in components:
        here = nodes[component.site]
        requested = REQUEST_SHARE * _limit(topology, component, cpus[component.site])
        key = (component.service, component.kind, component.site)
        seen = [node._replace(same=taken.get((*key, index), 0)) for index, node in enumerate(here)]
        chosen = place(seen, requested)
        assert chosen is not None  # at the start all nodes are open
        here[chosen] = here[chosen]._replace(requested=here[chosen].requested + requested)
        taken[*key, chosen] = taken.get((*key, chosen), 0) + 1
        pods.append(
            {
                "node": chosen,
                "cpu": requested,
                "stateful": component.kind in STATEFUL,
                "pinned": component.kind in PINNED and size == "lab",
            }
        )
    return {
        "name": "kubernetes",
        "settings": settings.model_dump(),
        "nodes": [site.nodes for site in topology.sites.values()],
        "pods": pods,
        "gateways": gateways,
    }


def _limit(topology: Topology, component: Component, site_cpu: float) -> float:
    return topology.kubernetes.cpu_limit(cast(Role, component.kind), site_cpu)


def pod_stations(
    topology: Topology, components: Sequence[Component], calibration: Calibration, shared: Sharing | None
) -> tuple[tuple[Component, ...], dict[str, NDArray[Any]]]:
    """One CPU station per pod: the components with their own station, and the stations' arrays."""
    sites = list(topology.sites.values())
    limits = [_limit(topology, component, sites[component.site].cpu) for component in components]
    most = [
        sites[component.site].cpu if shared is None else float(calibration.machine.cores)
        for component in components
    ]
    arrays = {
        "cpu_cores": np.array([max(cores, limit) for cores, limit in zip(most, limits, strict=True)]),
        "cpu_quota": np.array(limits),
        "cpu_period": np.full(len(limits), topology.kubernetes.cpu_period),
        "cpu_set": np.full(len(limits), -1 if shared is None else 0),
        "set_cores": np.array([] if shared is None else shared.cores),
    }
    return tuple(replace(component, cpu=index) for index, component in enumerate(components)), arrays


def pod_costs(calibration: Calibration) -> dict[str, tuple[float, float]]:
    """Means and variations of the cluster's own times, named `pod_*`."""
    times = calibration.pods or PodTimes()
    estimates = {name: getattr(times, name) for name in PodTimes.model_fields}
    return {f"pod_{name}": (found.mean, found.cv) for name, found in estimates.items()}
