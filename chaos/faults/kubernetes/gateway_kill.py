"""The pod at the end of a site's VPN links is deleted without grace; its controller makes a new one."""

from __future__ import annotations

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import momentary
from chaos.kube.context import KubernetesContext, Pod
from experiments.kubernetes_faults import GatewayKill


class GatewayKillDriver(momentary.Momentary):
    """Its tunnels are gone until the new pod has set them up."""

    def plan(self, context: KubernetesContext, fault: GatewayKill, name: str) -> Inverse:
        """Nothing to take back."""
        found = _gateway(context, fault.site)
        return momentary.inverse(fault.site, f"gateway {', '.join(pod.name for pod in found)} deleted")

    def inject(self, context: KubernetesContext, fault: GatewayKill, name: str) -> None:
        """Delete it at once."""
        context.actions(fault.site).delete_pods(_gateway(context, fault.site), 0)


def _gateway(context: KubernetesContext, site: str) -> list[Pod]:
    context.actions(site).ensure_allowed(context.namespace)
    found = context.gateway(site)
    if not found:
        raise InjectionError(f"{site} has no VPN gateway: none of its links has `vpn: wireguard`")
    return found
