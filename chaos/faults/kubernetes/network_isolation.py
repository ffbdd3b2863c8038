"""Some pods are cut off by a NetworkPolicy: nothing gets in, nothing out. The inverse lets them out of it."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import NetworkIsolation

KIND = "release-pods"


def unenforced(site: str) -> str:
    """What to say where nobody enforces policies."""
    return (
        f"no network plugin at {site} is known to enforce NetworkPolicies, so isolation would change "
        "nothing; scale_to_zero takes a service away, and `--backend kind` has clusters that enforce them"
    )


class NetworkIsolationDriver:
    """Only where somebody enforces policies; elsewhere the mark would change nothing.

    The lab's manifests have a policy that isolates marked pods; whether it also cuts connections that
    stand already is up to the network plugin.
    """

    def plan(self, context: KubernetesContext, fault: NetworkIsolation, name: str) -> Inverse:
        """Remove the marks."""
        pods = checks.live_pods(context, checks.components_at(context, fault.target))
        if not context.actions(fault.cluster).policy_enforcer():
            raise InjectionError(unenforced(fault.cluster))
        return Inverse(
            KIND,
            {"site": fault.cluster, "namespace": context.namespace, "pods": [pod.name for pod in pods]},
        )

    def inject(self, context: KubernetesContext, fault: NetworkIsolation, name: str) -> None:
        """Mark the pods."""
        pods = checks.live_pods(context, checks.components_at(context, fault.target))
        context.actions(fault.cluster).isolate(context.namespace, [pod.name for pod in pods])

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Remove the marks; harmless when they are gone. A pod that replaced one never had it."""
        context.actions(inverse.args["site"]).release(inverse.args["namespace"], inverse.args["pods"])
