"""A Deployment or StatefulSet is scaled to no pods; the inverse gives it back the number it had."""

from __future__ import annotations

from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, scaling
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import ScaleToZero


class ScaleToZeroDriver(scaling.Scaling):
    """The pods end gracefully, as an operator's mistake would have them."""

    def plan(self, context: KubernetesContext, fault: ScaleToZero, name: str) -> Inverse:
        """Scale to what there is now."""
        workload = context.workload(checks.components_at(context, fault.target)[0])
        return scaling.inverse([(workload, scaling.replicas_of(context, workload))])

    def inject(self, context: KubernetesContext, fault: ScaleToZero, name: str) -> None:
        """Ask for no pods."""
        workload = context.workload(checks.components_at(context, fault.target)[0])
        context.actions(workload.site).scale(workload, 0)
