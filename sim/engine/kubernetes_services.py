"""Services: where a new connection goes, as kube-proxy has last written it down."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from sim.engine.world import Daemon, World
from sim.protocols import kubernetes_services as protocol
from sim.protocols import tcp

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster
    from sim.engine.kubernetes_pods import Pod, Workload


Steps = Generator[simpy.Event, Any, Any]

UNREACHABLE_AFTER = 3.0
"""Seconds until a connection to an address without a machine fails: three ARP requests, one a second."""


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
        self._refusing.up = False
        self._limits: dict[str, protocol.ReplyLimit] = {}
        self._syn_linear = int(self._world.program.machine["tcp_syn_linear_timeouts"])
        self._draws = self._world.streams.get("service", f"{workload.name}/{cluster.site}")

    def connect(self, patience: float, asker: str) -> Steps:
        """Connect to the Service; what is met after at most ``patience`` seconds.

        Without an endpoint the node answers with an ICMP message, and the kernel sends few of those to
        one host: the other attempts get no answer, and TCP repeats its SYN until there is an endpoint.
        """
        env = self._world.env
        started = env.now
        again = [*tcp.syn_retransmissions(self._syn_linear), float("inf")]
        for following in again:
            if not self._cluster.is_entered(self.workload):
                yield env.timeout(patience)
                return self._refusing
            if self.programmed:
                return (yield from self._met(patience - (env.now - started)))
            limit = self._limits.setdefault(asker, protocol.ReplyLimit())
            if protocol.replies(limit, env.now):
                return self._refusing
            if following >= patience:
                break
            yield env.timeout(started + following - env.now)
        yield env.timeout(max(0.0, started + patience - env.now))
        return self._refusing

    def _met(self, patience: float) -> Steps:
        """One of the pods at random, or nobody at its address."""
        count = len(self.programmed)
        chosen = int(self._draws.uniform(self._draws.next()) * count) if count > 1 else 0
        pod = self.programmed[chosen]
        if pod.node is None or not self._cluster.nodes[pod.node].running:
            yield self._world.env.timeout(max(0.0, min(patience, UNREACHABLE_AFTER)))
            return self._refusing
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
