"""A node loses its power; the inverse starts it again."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, nodes
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import NodeStop


class NodeStopDriver(nodes.Started):
    """Every process of the node is killed at once; its disk stays."""

    def plan(self, context: KubernetesContext, fault: NodeStop, name: str) -> Inverse:
        """Start the node."""
        node = checks.node_name(context, fault.node)
        checks.ensure_state(context, [node], "stop")
        return nodes.inverse(nodes.START, fault.cluster, [node])

    def inject(self, context: KubernetesContext, fault: NodeStop, name: str) -> None:
        """Take its power."""
        context.machines.kill([checks.node_name(context, fault.node)])
