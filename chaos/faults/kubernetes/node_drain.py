"""A node is cordoned and its pods evicted, as `kubectl drain --ignore-daemonsets` does.

chaostoolkit-kubernetes drains too, but gives up at the first pod that a PodDisruptionBudget holds back
and takes no grace period. Here, as in kubectl, such an eviction is tried again every 5 s; the rest of
the experiment goes on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, node_cordon
from chaos.kube.context import KubernetesContext, Pod
from experiments.kubernetes_faults import NodeDrain

KIND = "end-drain"

RETRY = 5.0
"""Seconds between two tries of an eviction that a budget holds back (kubectl drain: evictPods)."""


class NodeDrainDriver:
    """Evictions that must wait are tried by a thread, which ends with the undo."""

    def __init__(self) -> None:
        self._draining: dict[str, threading.Event] = {}

    def plan(self, context: KubernetesContext, fault: NodeDrain, name: str) -> Inverse:
        """Uncordon the node and evict no more."""
        found = node_cordon.inverse(context, fault)
        _evictable(context, fault.cluster, found.args["node"])
        return Inverse(KIND, {**found.args, "name": name})

    def inject(self, context: KubernetesContext, fault: NodeDrain, name: str) -> None:
        """Cordon the node and ask for all evictions once; those that must wait are tried again later."""
        node = checks.node_name(context, fault.node)
        actions = context.actions(fault.cluster)
        actions.cordon(node)
        grace = None if fault.grace is None else round(fault.grace)
        waiting = [pod for pod in _evictable(context, fault.cluster, node) if not actions.evict(pod, grace)]
        if waiting:
            over = self._draining[name] = threading.Event()
            keep = threading.Thread(
                target=_keep,
                args=(context, fault.cluster, waiting, grace, over),
                name=f"drain-{node}",
                daemon=True,
            )
            keep.start()

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Evict no more and uncordon the node; evicted pods stay where they are now."""
        over = self._draining.pop(inverse.args["name"], None)
        if over is not None:
            over.set()
        node_cordon.uncordon(context, inverse)


def _keep(
    context: KubernetesContext, site: str, waiting: list[Pod], grace: int | None, over: threading.Event
) -> None:
    while waiting and not over.wait(RETRY):
        left = []
        for pod in waiting:
            try:
                if not context.actions(site).evict(pod, grace):
                    left.append(pod)
            except LabError:  # the API server is away for a moment, or the node is gone: later
                left.append(pod)
        waiting = left


def _evictable(context: KubernetesContext, site: str, node: str) -> list[Pod]:
    """The pods that a drain takes away: all but those of the node itself and of DaemonSets.

    Raises:
        InjectionError: one has no controller, so that it would be gone for good, or is in a namespace
            that must not be touched.
    """
    actions = context.actions(site)
    found = [
        pod
        for pod in actions.pods(None, node=node)
        if not pod.static and not pod.deleting and pod.owner != "DaemonSet"
    ]
    alone = [pod.name for pod in found if not pod.owner]
    if alone:
        raise InjectionError(f"nothing would replace {', '.join(alone)} on {node}: it has no controller")
    for namespace in sorted({pod.namespace for pod in found}):
        actions.ensure_allowed(namespace)
    return found
