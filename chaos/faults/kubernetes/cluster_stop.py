"""All nodes of a site lose their power; the inverse starts them again."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, nodes
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import ClusterStop


class ClusterStopDriver(nodes.Started):
    """The whole place goes dark: control plane, gateway, pods."""

    def plan(self, context: KubernetesContext, fault: ClusterStop, name: str) -> Inverse:
        """Start all nodes."""
        context.actions(fault.site)  # the site is known
        found = context.machines.nodes(fault.site)
        checks.ensure_state(context, found, "stop")
        return nodes.inverse(nodes.START, fault.site, found)

    def inject(self, context: KubernetesContext, fault: ClusterStop, name: str) -> None:
        """Take the power from all of them at once."""
        context.machines.kill(context.machines.nodes(fault.site))
