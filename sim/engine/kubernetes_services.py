"""Services: where a new connection goes, as kube-proxy has last written it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.engine.world import Daemon, World
from sim.protocols import kubernetes_services as protocol

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster
    from sim.engine.kubernetes_pods import Pod, Workload


class Service:
    """The Service of a workload in its cluster.

    Attributes:
        programmed: pods that kube-proxy's rules lead to.
    """

    def __init__(self, cluster: Cluster, workload: Workload) -> None:
        self._cluster = cluster
        self._world: World = cluster.world
        self.workload = workload
        self.programmed: list[Pod] = [pod for slot in workload.slots for pod in slot.pods]
        component = workload.slots[0].process.daemon.component
        self._refusing = Daemon(self._world, component)
        self._silent = Daemon(self._world, component)
        self._refusing.up = self._silent.up = False
        self._silent.unreachable = True
        self._draws = self._world.streams.get("service", f"{workload.name}/{cluster.site}")

    def pick(self) -> Daemon:
        """What a new connection meets: one of the pods at random, a refusal, or nothing."""
        if not self._cluster.is_entered(self.workload):
            return self._silent
        count = len(self.programmed)
        if not count:
            return self._refusing
        chosen = int(self._draws.uniform(self._draws.next()) * count) if count > 1 else 0
        pod = self.programmed[chosen]
        if pod.node is None or not self._cluster.nodes[pod.node].running:
            return self._silent
        return pod.slot.process.daemon if pod in pod.slot.live else self._refusing

    def conditions(self, pods: list[Pod]) -> list[protocol.Condition]:
        """Conditions of the pods' endpoints."""
        return [protocol.condition(pod.has_address, pod.seen_ready, pod.terminating) for pod in pods]

    def program(self) -> None:
        """kube-proxy writes what the EndpointSlices say now."""
        pods = [pod for slot in self.workload.slots for pod in slot.pods]
        found = [pods[index] for index in protocol.usable(self.conditions(pods))]
        self._world.at(self._cluster.cost("proxy"), lambda: self._written(found))

    def _written(self, pods: list[Pod]) -> None:
        self.programmed = pods
