"""What faults may do to a lab of clusters: a `chaos.kube.context.KubernetesContext`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Component
from chaos.host.processes import Process
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster
from chaos.kube.components import Components, named
from chaos.kube.context import Actions, Machines, Pod, Workload
from chaos.kube.gateways import GATEWAY
from chaos.kube.links import ClusterWan
from chaos.kube.machines import DockerMachines
from chaos.kube.settings import node_index

NOT_TARGETS = ("sentinel",)
"""Roles that no fault may name, as in the local lab: sentinels watch from outside."""


class KindTargets:
    """The clusters, their pods and nodes, and the links between them.

    Args:
        components: of the lab.
        clusters: site -> API server.
        nodes: site -> names of its nodes.
        wan: the links.
    """

    def __init__(
        self,
        components: Components,
        clusters: Mapping[str, Cluster],
        nodes: Mapping[str, Sequence[str]],
        wan: ClusterWan,
    ) -> None:
        self._components = components
        self._clusters = clusters
        self._nodes = nodes
        self._wan = wan
        self._machines = DockerMachines(self._nodes_of, self._put_back)

    @property
    def wan(self) -> ClusterWan:
        """The network between the sites."""
        return self._wan

    @property
    def machines(self) -> Machines:
        """The nodes."""
        return self._machines

    @property
    def namespace(self) -> str:
        """Where the lab's workloads are, in every cluster."""
        return NAMESPACE

    def components(self) -> Sequence[Component]:
        """Every component that a fault may name."""
        return [named(one) for one in self._components.references.values() if one.role not in NOT_TARGETS]

    def processes(self, component: Component) -> Sequence[Process]:
        """The live processes of the component's container."""
        return self._components.find(component).processes

    def restart(self, component: Component) -> None:
        """Ask its workload for as many pods as the topology has, in case it was asked for fewer.

        Raises:
            LabError: the API server does not answer, or refuses.
        """
        reference = self._components.find(component).reference
        workload = self.workload(component)
        self.actions(component.site).scale(workload, reference.replicas)

    def actions(self, site: str) -> Actions:
        """The API server of a site.

        Raises:
            InjectionError: there is no such site.
        """
        if site not in self._clusters:
            raise InjectionError(f"there is no site {site}; the topology has {', '.join(self._clusters)}")
        return ClusterActions(self._clusters[site], owned=True)

    def workload(self, component: Component) -> Workload:
        """What keeps the component's pods."""
        for one in self._components.references.values():
            if named(one) == component and one.role not in NOT_TARGETS:
                return Workload(one.site, one.namespace, one.kind, one.workload)
        raise InjectionError(f"there is no {component} in this lab")

    def pods(self, component: Component) -> list[Pod]:
        """The pod of the component, unless it is on its way out."""
        found = self._components.find(component).pod
        return [] if found is None else [found]

    def gateway(self, site: str) -> list[Pod]:
        """Pods at the end of the site's VPN links; empty when it has none."""
        if site not in self._wan.tunnels.peers:
            return []
        selector = f"app.kubernetes.io/name={GATEWAY}"
        return [one for one in self.actions(site).pods(NAMESPACE, selector) if not one.deleting]

    def _nodes_of(self, site: str) -> Sequence[str]:
        return self._nodes.get(site, ())

    def _put_back(self, names: Sequence[str]) -> None:
        """Gateway nodes that were started again have to get back on the network."""
        failed = []
        for site, nodes in self._nodes.items():
            for name in nodes:
                if name in names and node_index(name) == 0:
                    try:
                        self._wan.reattach(site)
                    except LabError as error:
                        failed.append(str(error))
        if failed:
            raise LabError("; ".join(failed))
