"""What faults may do to a lab of clusters: pods by the API servers, nodes by whoever owns them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Component, Network
from chaos.host.processes import Process
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import GATEWAY, NAMESPACE
from chaos.kube.api import Cluster, Unreachable
from chaos.kube.context import Actions, Machines, Pod, Workload
from chaos.kube.manifests.pods import PodReference, pods
from topologies.model import Topology

NOT_TARGETS = ("sentinel",)
"""Roles that no fault may name: sentinels watch from outside."""


class ClusterTargets:
    """The `chaos.kube.context.KubernetesContext` of a lab that is up.

    Args:
        topology: what runs in it.
        clusters: site -> its API server.
        machines: the nodes.
        wan: the network between the sites; asked for only when a fault needs it.
        namespace: where the workloads are.
        owned: whether the lab has made the clusters, their system namespaces included.
    """

    def __init__(
        self,
        topology: Topology,
        clusters: Mapping[str, Cluster],
        machines: Machines,
        wan: Callable[[], Network],
        namespace: str = NAMESPACE,
        *,
        owned: bool = False,
    ) -> None:
        self._references: dict[Component, PodReference] = {
            Component(one.service, one.site, one.index): one
            for one in pods(topology).values()
            if one.role not in NOT_TARGETS
        }
        self._clusters = clusters
        self._actions: dict[str, Actions] = {}
        self._machines = machines
        self._wan = wan
        self._namespace = namespace
        self._owned = owned
        self._containers: dict[Component, tuple[str, ...]] = {}

    @property
    def wan(self) -> Network:
        """The network between the sites."""
        return self._wan()

    @property
    def machines(self) -> Machines:
        """The nodes."""
        return self._machines

    @property
    def namespace(self) -> str:
        """Where the lab's workloads are, in every cluster."""
        return self._namespace

    def components(self) -> Sequence[Component]:
        """Every component that a fault may name."""
        return list(self._references)

    def actions(self, site: str) -> Actions:
        """The API server of a site."""
        if site not in self._clusters:
            raise InjectionError(f"there is no site {site}; the lab has {', '.join(self._clusters)}")
        if site not in self._actions:
            self._actions[site] = ClusterActions(self._clusters[site], owned=self._owned)
        return self._actions[site]

    def workload(self, component: Component) -> Workload:
        """What keeps the component's pods."""
        found = self._reference(component)
        return Workload(found.site, self._namespace, found.kind, found.workload)

    def pods(self, component: Component) -> list[Pod]:
        """The pod of the component, when it is there and not on its way out.

        Pods of a Deployment have no names of their own; the component's index counts them by age.
        """
        reference = self._reference(component)
        found = [
            pod
            for pod in self.actions(reference.site).pods(self._namespace, reference.selector)
            if not pod.deleting
        ]
        if reference.pod is not None:
            return [pod for pod in found if pod.name == reference.pod]
        return found[reference.index : reference.index + 1]

    def gateway(self, site: str) -> list[Pod]:
        """The pod at the end of the site's VPN links; empty when it has none."""
        selector = f"app.kubernetes.io/name={GATEWAY}"
        return [pod for pod in self.actions(site).pods(self._namespace, selector) if not pod.deleting]

    def processes(self, component: Component) -> Sequence[Process]:
        """The live processes of the component's containers.

        While the API server is away, those of the containers that it had when it was last asked.
        """
        try:
            self._containers[component] = tuple(one for pod in self.pods(component) for one in pod.containers)
        except Unreachable:
            if component not in self._containers:
                raise
        return self._machines.processes(self._containers[component])

    def restart(self, component: Component) -> None:
        """Ask the component's workload for all its pods again."""
        self.actions(component.site).scale(self.workload(component), self._reference(component).replicas)

    def _reference(self, component: Component) -> PodReference:
        if component not in self._references:
            raise InjectionError(f"there is no {component} in this lab")
        return self._references[component]
