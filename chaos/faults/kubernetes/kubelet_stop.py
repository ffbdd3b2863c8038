"""The kubelet of a node is stopped: its pods go on, nobody tells the control plane."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import KubeletStop

KIND = "start-kubelet"


class KubeletStopDriver:
    """By systemd, which runs the kubelet on a node."""

    def plan(self, context: KubernetesContext, fault: KubeletStop, name: str) -> Inverse:
        """Start the kubelet."""
        node = checks.node_name(context, fault.node)
        checks.ensure_state(context, [node], "stop the kubelet of")
        if context.machines.run(node, "systemctl", "is-active", "kubelet", check=False).strip() != "active":
            raise InjectionError(f"the kubelet of {node} does not run")
        return Inverse(KIND, {"site": fault.cluster, "node": node})

    def inject(self, context: KubernetesContext, fault: KubeletStop, name: str) -> None:
        """Stop it."""
        context.machines.run(checks.node_name(context, fault.node), "systemctl", "stop", "kubelet")

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Start it; harmless when it runs."""
        context.machines.run(inverse.args["node"], "systemctl", "start", "kubelet")
