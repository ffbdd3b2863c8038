"""All pods of a workload are replaced, by its own update strategy."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, momentary
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import RollingRestart


class RollingRestartDriver(momentary.Momentary):
    """As `kubectl rollout restart`: a new time stamp in the pods' template."""

    def plan(self, context: KubernetesContext, fault: RollingRestart, name: str) -> Inverse:
        """Nothing to take back."""
        found = checks.components_at(context, fault.target)
        checks.live_pods(context, found)
        return momentary.inverse(fault.cluster, f"{context.workload(found[0])} restarted")

    def inject(self, context: KubernetesContext, fault: RollingRestart, name: str) -> None:
        """Stamp the template."""
        workload = context.workload(checks.components_at(context, fault.target)[0])
        context.actions(workload.site).restart(workload)
