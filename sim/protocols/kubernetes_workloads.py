"""Workloads: who replaces a pod, when, and where.

Source: kubernetes/kubernetes pkg/controller/controller_utils.go FilterActivePods (a ReplicaSet does
not count pods that are being deleted, so it replaces them at once),
pkg/controller/deployment/rolling.go, pkg/controller/statefulset/stateful_set_control.go (a pod's
successor waits until it is gone; updates go from the last to the first and wait for each),
pkg/controller/disruption/disruption.go (budgets), staging/src/k8s.io/kubectl/pkg/drain/drain.go
(retry every 5 s), pkg/scheduler/framework/plugins (spread, least allocated); components.md 6.3, 10.1.

Example:
    >>> roll(replicas=1, surge=1, unavailable=0, old=1, new=0, ready=1)
    Roll(create=1, delete=0)
    >>> roll(replicas=1, surge=1, unavailable=0, old=1, new=1, ready=2)
    Roll(create=0, delete=1)
    >>> may_evict(ready=1, total=1, budget=1), may_evict(ready=1, total=2, budget=1)
    (True, False)
    >>> place([Node(0.85), Node(0.0)], cpu=0.2)
    1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DRAIN_RETRY = 5.0
"""Seconds after which a drain asks again for an eviction that a budget forbade."""

CONTROL_PLANE_CPU = 0.85
"""Cores that kubeadm's own pods ask for on a control-plane node (API server 0.25, controller manager 0.2,
scheduler 0.1, etcd 0.1, two CoreDNS 0.2)."""


class Node(NamedTuple):
    """A node as the scheduler sees it.

    Attributes:
        requested: cores asked for by the pods on it.
        same: pods of the same service on it.
        open: ready and not cordoned.
    """

    requested: float
    same: int = 0
    open: bool = True


def place(nodes: Sequence[Node], cpu: float, only: int | None = None) -> int | None:
    """The node for a pod that asks for ``cpu`` cores; None when it has to wait.

    Pods of a service keep apart where they can (preferred anti-affinity), then the node with the
    least asked for wins, then the first.

    Args:
        nodes: of the cluster.
        cpu: what the pod asks for.
        only: the node that the pod is tied to, by a volume that cannot move.
    """
    fitting = [
        (node.same, node.requested + cpu, index)
        for index, node in enumerate(nodes)
        if node.open and only in (None, index)
    ]
    return min(fitting)[2] if fitting else None


def replaced_at_once(stateful: bool) -> bool:
    """Whether a pod's successor is made when its deletion begins, or only when it is gone.

    At most one pod per identity: a StatefulSet's pod on a lost node is not replaced until the node is
    back, or somebody deletes the pod by force.
    """
    return not stateful


class Roll(NamedTuple):
    """Pods to make and old pods to delete now."""

    create: int
    delete: int


def roll(replicas: int, surge: int, unavailable: int, old: int, new: int, ready: int) -> Roll:
    """The next step of a Deployment's rolling update.

    Args:
        replicas: wanted.
        surge: pods allowed above them.
        unavailable: pods that may be missing.
        old: pods of the old revision that are not being deleted.
        new: pods of the new one.
        ready: pods of both that are available.
    """
    create = max(0, min(replicas - new, replicas + surge - old - new))
    delete = max(0, min(old, ready - (replicas - unavailable)))
    return Roll(create, delete)


def may_evict(ready: int, total: int, budget: int, healthy: bool = True) -> bool:
    """Whether a budget of ``budget`` missing pods lets one more go, with ``ready`` of ``total`` there.

    A pod that is not ready anyway may go as long as nothing is missing beyond the budget
    (unhealthyPodEvictionPolicy IfHealthyBudget).
    """
    return ready > total - budget or (not healthy and ready == total - budget)
