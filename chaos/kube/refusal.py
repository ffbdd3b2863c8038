"""What is not done to clusters that somebody else has: their nodes without leave, their links never."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Network
from chaos.faults.kubernetes.network_isolation import unenforced
from chaos.host.processes import Process
from chaos.kube.access import Access
from chaos.kube.actions import ClusterActions
from chaos.kube.api import Cluster
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from experiments.kubernetes_faults import ApiServerDown, ClusterStop, ContainerKill, GatewayKill, NodeFault


class Refusing:
    """Nodes that are none of the lab's business: a `chaos.kube.context.Machines` that does nothing."""

    @staticmethod
    def _refuse() -> InjectionError:
        return InjectionError(
            "this takes access to the nodes, which are not the lab's: `--allow-nodes` gives it where the "
            "nodes are containers of this machine; `pod_delete` with `grace: 0s` kills a pod through the API"
        )

    def nodes(self, site: str) -> Sequence[str]:
        """Refused."""
        raise self._refuse()

    def state(self, node: str) -> str:
        """Refused."""
        raise self._refuse()

    def kill(self, nodes: Sequence[str]) -> None:
        """Refused."""
        raise self._refuse()

    def start(self, nodes: Sequence[str]) -> None:
        """Refused."""
        raise self._refuse()

    def pause(self, nodes: Sequence[str]) -> None:
        """Refused."""
        raise self._refuse()

    def unpause(self, nodes: Sequence[str]) -> None:
        """Refused."""
        raise self._refuse()

    def run(self, node: str, *argv: str, check: bool = True) -> str:
        """Refused."""
        raise self._refuse()

    def processes(self, containers: Collection[str]) -> list[Process]:
        """Refused."""
        raise self._refuse()


NO_LINKS = (
    "the links between existing clusters are not the lab's to cut or to slow down; `--backend kind` has "
    "links of its own"
)


def no_links() -> Network:
    """The network between the sites: refused."""
    raise InjectionError(NO_LINKS)


def not_enforced(site: str, access: Access) -> str | None:
    """Why a NetworkPolicy would change nothing at ``site``; None when it would. The cluster is asked.

    Raises:
        LabError: it does not answer, or does not let the account look.
    """
    cluster = Cluster(site, access.only(site))
    return None if ClusterActions(cluster).policy_enforcer() else unenforced(site)


def refusal(fault: Fault, access: Access) -> str | None:
    """Why ``fault`` is not for existing clusters; None when it is.

    Args:
        fault: of an experiment.
        access: what the owner allows.
    """
    if isinstance(fault, Partition | Degrade):
        return NO_LINKS
    if isinstance(fault, GatewayKill):
        return "the VPN gateways of existing clusters are not the lab's"
    on_nodes = isinstance(fault, Kill | Pause | ContainerKill | NodeFault | ClusterStop | ApiServerDown)
    if on_nodes and not access.allow_nodes:
        return (
            f"{fault.fault} takes access to nodes, which existing clusters do not give: allow it with "
            "--allow-nodes; pod_delete with `grace: 0s` kills pods through the API"
        )
    return None
