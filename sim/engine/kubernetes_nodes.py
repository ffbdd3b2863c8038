"""Nodes of a cluster: leases, the monitor that finds lost ones, and the eviction of their pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.protocols import kubernetes_nodes as protocol
from topologies.kubernetes import Kubernetes

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster

REGISTERED_AFTER = 1.0
"""Seconds from a kubelet's start until it has reported its node for the first time."""

TIMERS = (
    "version",
    "node_status_update_frequency",
    "node_status_report_frequency",
    "node_lease_duration",
    "node_monitor_grace_period",
)
"""Settings from which the defaults of others follow."""


class ClusterNode:
    """A machine.

    Attributes:
        name: `site/index`.
        running: it has power.
        paused: everything on it stands still.
        kubelet: its kubelet runs.
        cordoned: takes no new pods.
        ready: as the API sees it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = True
        self.paused = False
        self.kubelet = True
        self.cordoned = False
        self.ready = True

    @property
    def kubelet_works(self) -> bool:
        """Whether its kubelet looks after its pods."""
        return self.running and not self.paused and self.kubelet


class Nodes:
    """The node life cycle of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        settings = cluster.settings
        count = len(cluster.nodes)
        self.renewed = [0.0] * count
        known = Kubernetes.model_validate({name: settings[name] for name in TIMERS})
        self._reports = known.node_status_reports
        self.state = protocol.NodeMonitor.of(count, known.node_monitor_grace)
        self._tainted = [0] * count  # counts, so that a timer knows whether its taint still stands
        self._next_taint = 0.0

    def begin(self) -> None:
        """Start the clocks, each at its own phase."""
        cluster = self._cluster
        settings = cluster.settings
        renewal = settings["node_lease_duration"] / 4
        for node in range(len(cluster.nodes)):
            phase = cluster.draw()
            self.renewed[node] = self.state.renewed[node] = -renewal * (1 - phase)
            self._world.every(renewal, renewal * phase, lambda node=node: self._renew(node))  # type: ignore[misc]
            status = settings["node_status_update_frequency"]
            self._world.every(status, status * cluster.draw(), lambda node=node: self._status(node))  # type: ignore[misc]
        period = settings["node_monitor_period"] + protocol.LOOK_COST
        self._world.every(period, period * cluster.draw(), self._look)

    def _talks(self, node: int) -> bool:
        return self._cluster.nodes[node].kubelet_works and self._cluster.api_up

    def _renew(self, node: int) -> None:
        if self._talks(node):
            self.renewed[node] = self._world.env.now

    def _status(self, node: int) -> None:
        """The kubelet compares its node's status with the API's, and corrects it or says it again."""
        if self._talks(node) and protocol.report_due(self.state, node, self._world.env.now, self._reports):
            self.reported(node)

    def reported(self, node: int) -> None:
        """The kubelet says that its node is ready."""
        if not protocol.reported(self.state, node, self._world.env.now):
            return
        cluster = self._cluster
        cluster.nodes[node].ready = True
        self._tainted[node] += 1
        cluster.event(cluster.nodes[node].name, "node.ready")
        cluster.react(cluster.schedule)
        cluster.kubelet.returned(node, fresh=False)

    def _look(self) -> None:
        cluster = self._cluster
        if not cluster.api_up:
            return
        for node, _ in protocol.look(self.state, self._world.env.now, self.renewed):
            cluster.nodes[node].ready = False
            cluster.event(cluster.nodes[node].name, "node.not-ready")
            for pod in cluster.pods_on(node):
                cluster.react(lambda pod=pod: cluster.see(pod, False))  # type: ignore[misc]
            self._taint(node)

    def _taint(self, node: int) -> None:
        """Taint a lost node, one node per interval, and start its pods' timers."""
        now = self._world.env.now
        at = max(now + protocol.TAINT_PERIOD * self._cluster.draw(), self._next_taint)
        self._next_taint = at + protocol.EVICTION_INTERVAL
        self._tainted[node] += 1
        number = self._tainted[node]
        over = protocol.evicted_at(at, self._cluster.settings["unreachable_toleration"])
        self._world.at(over - now, lambda: self._cluster.api(lambda: self._evict(node, number)))

    def _evict(self, node: int, number: int) -> None:
        if self._tainted[node] != number or self.state.ready[node]:
            return
        ready = sum(self.state.ready)
        if not protocol.evicts(ready, len(self.state.ready) - ready):
            return
        for pod in self._cluster.pods_on(node):
            if pod.slot.workload.role != "gateway":  # it tolerates the loss of its node
                self._cluster.delete(pod)

    def forget(self) -> None:
        """The controllers start anew: every node's grace period begins now."""
        self.state.seen = [self._world.env.now] * len(self.state.seen)

    # -- faults ------------------------------------------------------------------------------

    def stop(self, node: int) -> None:
        """The machine loses its power."""
        cluster = self._cluster
        found = cluster.nodes[node]
        if not found.running:
            return
        if found.paused:
            self.resume(node)
        found.running = False
        for pod in cluster.pods_on(node):
            cluster.kubelet.container_gone(pod)
            pod.has_address = False
        if node == 0:
            cluster.lose_wan()
            cluster.api_changed()

    def start(self, node: int) -> None:
        """The machine is switched on again; its kubelet runs after a while."""
        delay = self._cluster.cost("node")
        self._world.at(delay, lambda: self._booted(node))

    def _booted(self, node: int) -> None:
        cluster = self._cluster
        found = cluster.nodes[node]
        if found.running:
            return
        found.running = True
        if node == 0:
            cluster.regain_wan()
            cluster.api_faults += 1  # until its own processes are up again
            self._world.at(cluster.cost("api"), self._api_started)
        self.kubelet_started(node, fresh=True)

    def _api_started(self) -> None:
        self._cluster.api_faults -= 1
        self._cluster.api_returned()

    def kubelet_started(self, node: int, fresh: bool) -> None:
        """A kubelet begins to look after its pods and reports its node."""
        self._cluster.nodes[node].kubelet = True
        self._cluster.kubelet.returned(node, fresh)
        self._world.at(REGISTERED_AFTER, lambda: self._cluster.api(lambda: self._register(node)))

    def _register(self, node: int) -> None:
        if self._talks(node):
            self.renewed[node] = self._world.env.now
            self.reported(node)

    def pause(self, node: int) -> None:
        """Everything on the machine stands still; its kernel still accepts connections."""
        cluster = self._cluster
        found = cluster.nodes[node]
        if found.paused or not found.running:
            return
        found.paused = True
        for pod in cluster.pods_on(node):
            if pod in pod.slot.live:
                pod.slot.process.pause()
        cluster.api_changed()

    def resume(self, node: int) -> None:
        """It goes on, its kubelet with whatever it was about to do."""
        cluster = self._cluster
        found = cluster.nodes[node]
        if not found.paused:
            return
        found.paused = False
        for pod in cluster.pods_on(node):
            if pod in pod.slot.live:
                pod.slot.process.resume()
        if node == 0:
            cluster.api_returned()
        cluster.api(lambda: self._renew(node))
        cluster.kubelet.returned(node, fresh=False)
