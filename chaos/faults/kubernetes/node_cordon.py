"""A node takes no new pods; the inverse lets them come again."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import NodeCordon, NodeDrain

KIND = "uncordon"


def inverse(context: KubernetesContext, fault: NodeCordon | NodeDrain) -> Inverse:
    """Uncordon the node.

    Raises:
        InjectionError: there is none, or somebody else has cordoned it: it is not ours to uncordon.
    """
    node = checks.node_name(context, fault.node)
    if not context.actions(fault.cluster).schedulable(node):
        raise InjectionError(f"{node} is cordoned already")
    return Inverse(KIND, {"site": fault.cluster, "node": node})


def uncordon(context: KubernetesContext, inverse: Inverse) -> None:
    """Let pods come again; harmless when they may."""
    context.actions(inverse.args["site"]).uncordon(inverse.args["node"])


class NodeCordonDriver:
    """What runs on the node stays."""

    def plan(self, context: KubernetesContext, fault: NodeCordon, name: str) -> Inverse:
        """Uncordon the node."""
        return inverse(context, fault)

    def inject(self, context: KubernetesContext, fault: NodeCordon, name: str) -> None:
        """Cordon it."""
        context.actions(fault.cluster).cordon(checks.node_name(context, fault.node))

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Uncordon it."""
        uncordon(context, inverse)
