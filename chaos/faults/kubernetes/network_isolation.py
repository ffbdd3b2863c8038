"""A NetworkPolicy lets nothing in to some pods and nothing out; the inverse deletes it."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import NetworkIsolation

KIND = "delete-policy"


class NetworkIsolationDriver:
    """Only where somebody enforces policies; elsewhere the object would change nothing."""

    def plan(self, context: KubernetesContext, fault: NetworkIsolation, name: str) -> Inverse:
        """Delete the policy of that name."""
        checks.live_pods(context, checks.components_at(context, fault.target))
        if not context.actions(fault.cluster).policy_enforcer():
            raise InjectionError(
                f"no network plugin at {fault.cluster} enforces NetworkPolicies: the isolation of "
                f"{fault.target} would change nothing; `partition` cuts the links between sites"
            )
        return Inverse(KIND, {"site": fault.cluster, "namespace": context.namespace, "name": _name(name)})

    def inject(self, context: KubernetesContext, fault: NetworkIsolation, name: str) -> None:
        """Put the policy in force."""
        pods = checks.live_pods(context, checks.components_at(context, fault.target))
        context.actions(fault.cluster).isolate(context.namespace, _name(name), pods)

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Delete it; harmless when it is gone."""
        context.actions(inverse.args["site"]).release(inverse.args["namespace"], inverse.args["name"])


def _name(fault: str) -> str:
    return f"faultline-{fault}"
