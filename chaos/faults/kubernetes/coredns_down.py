"""CoreDNS of a site is scaled to no pods: names no longer resolve. The inverse scales it back."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import scaling
from chaos.kube.context import SYSTEM_NAMESPACE, KubernetesContext, Workload
from experiments.kubernetes_faults import CorednsDown

NAME = "coredns"


class CorednsDownDriver(scaling.Scaling):
    """It belongs to the system's namespace, which must be released for chaos for that."""

    def plan(self, context: KubernetesContext, fault: CorednsDown, name: str) -> Inverse:
        """Scale to what there is now."""
        context.actions(fault.site).ensure_allowed(SYSTEM_NAMESPACE)
        workload = _coredns(fault.site)
        return scaling.inverse([(workload, scaling.replicas_of(context, workload))])

    def inject(self, context: KubernetesContext, fault: CorednsDown, name: str) -> None:
        """Ask for no pods, and let those that are there go at once: their grace period is 30 s."""
        actions = context.actions(fault.site)
        actions.scale(_coredns(fault.site), 0)
        found = [
            pod for pod in actions.pods(SYSTEM_NAMESPACE, "k8s-app=kube-dns") if pod.name.startswith(NAME)
        ]
        if found:
            actions.delete_pods(found, 0)


def _coredns(site: str) -> Workload:
    return Workload(site, SYSTEM_NAMESPACE, "Deployment", NAME)
