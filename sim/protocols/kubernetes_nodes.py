"""Nodes: leases, the node monitor, taints and eviction.

Source: kubernetes/kubernetes pkg/controller/nodelifecycle/node_lifecycle_controller.go
(tryUpdateNodeHealth: the clock starts when the controller sees a sign of life, not when the kubelet gave
it; handleDisruption, ComputeZoneState), pkg/controller/tainteviction/taint_eviction.go (one timer per
pod, from the moment of the taint), pkg/kubelet/kubelet.go (lease renewal); components.md 6.3. Seconds.

Example:
    >>> monitor = NodeMonitor.of(1, grace=12.0)
    >>> look(monitor, 2.0, [1.5]), look(monitor, 14.1, [1.5])
    ([], [(0, False)])
    >>> not_ready_bounds(grace=50.0, renewal=10.0, period=5.0)
    (40.0, 60.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

TAINT_PERIOD = 0.1
"""Seconds between two passes of the controller that sets taints (nodeEvictionPeriod)."""

EVICTION_INTERVAL = 10.0
"""Seconds between the taints of two nodes (--node-eviction-rate 0.1)."""

UNHEALTHY_SHARE = 0.55
"""Share of lost nodes from which a zone of at most 50 nodes evicts nobody (--unhealthy-zone-threshold)."""

LOOK_COST = 0.005
"""Seconds that a look takes: the next comes a period after its end, so periods drift by as much."""


@dataclass
class NodeMonitor:
    """What the node life-cycle controller of a cluster knows.

    Attributes:
        grace: without a sign of life a node counts as lost after this.
        renewed: per node, the renewal of its lease that was last seen.
        leased: per node, whether the controller remembers its lease.
        posted: per node, when its kubelet last posted the node's status.
        noted: per node, the posted status that was last seen.
        seen: per node, when a sign of life was last seen: the grace period counts from there.
        ready: per node, whether it counts as ready.
    """

    grace: float
    renewed: list[float]
    leased: list[bool]
    posted: list[float]
    noted: list[float]
    seen: list[float]
    ready: list[bool]

    @classmethod
    def of(cls, nodes: int, grace: float) -> NodeMonitor:
        """Of a cluster whose nodes are ready at 0."""
        zeros = [0.0] * nodes
        return cls(grace, zeros[:], [True] * nodes, zeros[:], zeros[:], zeros[:], [True] * nodes)


def look(monitor: NodeMonitor, now: float, renewed: Sequence[float]) -> list[tuple[int, bool]]:
    """One round of the monitor: which nodes have just been lost, as (node, False).

    A new status replaces all that is known of a node, its lease too: the round after takes the lease for
    a new one, and so for a sign of life. A node that is heard again becomes ready by its own kubelet's
    report: see `reported`.
    """
    found = []
    for node, renewal in enumerate(renewed):
        remembered = monitor.leased[node]
        if monitor.posted[node] != monitor.noted[node]:
            monitor.noted[node] = monitor.posted[node]
            monitor.leased[node] = False
            monitor.seen[node] = now
        if not remembered or renewal > monitor.renewed[node]:
            monitor.renewed[node] = renewal
            monitor.leased[node] = True
            monitor.seen[node] = now
        if monitor.ready[node] and now > monitor.seen[node] + monitor.grace:
            monitor.ready[node] = False
            found.append((node, False))
    return found


def reported(monitor: NodeMonitor, node: int, now: float) -> bool:
    """The kubelet posts that its node is ready; True when that is news."""
    monitor.posted[node] = now
    if monitor.ready[node]:
        return False
    monitor.ready[node] = True
    return True


def report_due(monitor: NodeMonitor, node: int, now: float, every: float) -> bool:
    """Whether a kubelet that looks at its node's status posts it: when it changed, or after ``every``."""
    return not monitor.ready[node] or now >= monitor.posted[node] + every - 1e-9


def not_ready_bounds(grace: float, renewal: float, period: float) -> tuple[float, float]:
    """Seconds from a node's loss until it counts as lost: least and most.

    Its last renewal was up to ``renewal`` ago. What it gave last was seen up to ``period`` later, and if
    that was a status, the round after counts too; the look that declares it lost is the first after
    the grace period, which began with a look.
    """
    rounds = ceil(grace / period - 1e-9) * period
    return rounds - renewal, rounds + 2 * period


def zone_state(ready: int, lost: int) -> Literal["normal", "partial", "full"]:
    """How much of a zone is lost (ComputeZoneState)."""
    if not ready and lost:
        return "full"
    return "partial" if lost > 2 and lost / (ready + lost) >= UNHEALTHY_SHARE else "normal"


def evicts(ready: int, lost: int) -> bool:
    """Whether pods of a lost node are evicted: a cluster that lost all of it, or most, touches nothing."""
    return zone_state(ready, lost) == "normal"


def evicted_at(tainted_at: float, toleration: float) -> float:
    """When a pod of a tainted node is deleted, if the node stays lost."""
    return tainted_at + toleration
