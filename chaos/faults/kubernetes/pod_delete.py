"""Pods are deleted; their controller makes new ones."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, momentary
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import PodDelete


class PodDeleteDriver(momentary.Momentary):
    """SIGTERM and withdrawal of the endpoints at the same time; without grace, SIGKILL."""

    def plan(self, context: KubernetesContext, fault: PodDelete, name: str) -> Inverse:
        """Nothing to take back."""
        found = checks.components_at(context, fault.target)
        pods = checks.live_pods(context, found)
        return momentary.inverse(fault.cluster, f"pods {', '.join(pod.name for pod in pods)} deleted")

    def inject(self, context: KubernetesContext, fault: PodDelete, name: str) -> None:
        """Delete all pods of the target at once."""
        pods = checks.live_pods(context, checks.components_at(context, fault.target))
        grace = None if fault.grace is None else round(fault.grace)
        context.actions(fault.cluster).delete_pods(pods, grace)
