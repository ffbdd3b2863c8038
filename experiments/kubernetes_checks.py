"""What is wrong with a Kubernetes fault on a topology, and which of them get in each other's way."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.faults import Fault, Kill, Pause
from experiments.kubernetes_faults import (
    ApiServerDown,
    ClusterStop,
    ContainerKill,
    CorednsDown,
    KubeletStop,
    KubernetesFault,
    NetworkIsolation,
    NodeCordon,
    NodeDrain,
    NodeFault,
    NodePause,
    NodeStop,
    PodDelete,
    RollingRestart,
    ScaleToZero,
    takes_the_api,
)
from experiments.names import node_parts, overlap
from topologies.errors import Misfit, Path, suggestion
from topologies.model import Topology

_ON_WORKLOADS = Kill | Pause | PodDelete | ContainerKill | ScaleToZero | RollingRestart


def node_misfits(node: str, path: Path, topology: Topology) -> Iterator[Misfit]:
    """What is wrong with the name of a node."""
    site, index = node_parts(node)
    if site not in topology.sites:
        hint = suggestion(site, topology.sites, what="sites")
        yield Misfit(path, f"unknown site {site!r}", "site/index, as in ral/0", hint)
        return
    count = topology.sites[site].nodes
    if index >= count:
        known = f"only {site}/0" if count == 1 else f"{site}/0 to {site}/{count - 1}"
        hint = f"or give the site more: `lab: {{sites: {{{site}: {{nodes: {index + 1}}}}}}}` in the topology"
        yield Misfit(path, f"there is no node {node}: {site} has {known}", hint=hint)


def both_hold(earlier: Fault, later: Fault) -> str | None:
    """What two faults that overlap in time would both hold; None when they can live together.

    Only for pairs of which at least one is a Kubernetes fault. A fault that is over at once does
    not hold anything, but it cannot be done to what an earlier one holds down.
    """
    blocked = _api_held(earlier, later)
    if blocked is not None:
        return blocked
    if isinstance(earlier, KubernetesFault) and earlier.is_momentary:
        return None
    if isinstance(earlier, _ON_WORKLOADS) and isinstance(later, _ON_WORKLOADS):
        same = overlap(earlier.target, later.target)
        return max(earlier.target, later.target, key=len) if same else None
    if isinstance(earlier, NetworkIsolation) and isinstance(later, NetworkIsolation):
        same = overlap(earlier.target, later.target)
        return max(earlier.target, later.target, key=len) if same else None
    if isinstance(earlier, NodeCordon | NodeDrain) and isinstance(later, NodeCordon | NodeDrain):
        return earlier.node if earlier.node == later.node else None
    if isinstance(earlier, NodeStop | NodePause | KubeletStop) and isinstance(
        later, NodeStop | NodePause | KubeletStop
    ):
        return earlier.node if earlier.node == later.node else None
    for one, other in ((earlier, later), (later, earlier)):
        if isinstance(one, ClusterStop) and isinstance(other, NodeFault | ApiServerDown | ClusterStop):
            return f"the cluster of {one.site}" if one.site == other.cluster else None
        if isinstance(one, ApiServerDown) and isinstance(other, NodeStop | NodePause | KubeletStop):
            return other.node if other.node == f"{one.site}/0" else None
    if (isinstance(earlier, CorednsDown) and isinstance(later, CorednsDown)) or (
        isinstance(earlier, ApiServerDown) and isinstance(later, ApiServerDown)
    ):
        return f"the same thing at {later.cluster}" if earlier.cluster == later.cluster else None
    return None


def _api_held(earlier: Fault, later: Fault) -> str | None:
    """The API server that one takes away and the other needs meanwhile."""
    for taker, user in ((earlier, later), (later, earlier)):
        if not isinstance(taker, KubernetesFault) or not takes_the_api(taker):
            continue
        if user is earlier and isinstance(user, KubernetesFault) and user.is_momentary:
            continue  # done before the API server went, and nothing to take back
        needs = not isinstance(user, KubernetesFault) or user.needs_api
        if needs and _cluster(user) == taker.cluster:
            return f"the API server of {taker.cluster} (one takes it away, the other needs it)"
    return None


def _cluster(fault: Fault) -> str | None:
    if isinstance(fault, KubernetesFault):
        return fault.cluster
    return fault.target.partition("@")[2].partition("/")[0] if isinstance(fault, Kill | Pause) else None
