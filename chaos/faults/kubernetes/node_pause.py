"""A node stands still: nothing on it runs, and its connections stay open."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, nodes
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import NodePause


class NodePauseDriver:
    """The control group of the node's container is frozen, and thawed to take it back."""

    def plan(self, context: KubernetesContext, fault: NodePause, name: str) -> Inverse:
        """Let the node go on."""
        node = checks.node_name(context, fault.node)
        checks.ensure_state(context, [node], "pause")
        return nodes.inverse(nodes.UNPAUSE, fault.cluster, [node])

    def inject(self, context: KubernetesContext, fault: NodePause, name: str) -> None:
        """Freeze it."""
        context.machines.pause([checks.node_name(context, fault.node)])

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Thaw what no other pause holds."""
        context.machines.unpause(nodes.free(inverse, others))
