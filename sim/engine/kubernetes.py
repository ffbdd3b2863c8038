"""Kubernetes under the deployment: a cluster per site with nodes, pods, Services and controllers.

The processes are those of the other engine modules; here stands who starts and ends them, and where
a new connection to them goes. Mechanisms are in sim.protocols.kubernetes_*; what takes time without a
timer (making a sandbox, writing rules) is drawn from the calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sim.engine.kubernetes_kubelet import Kubelet
from sim.engine.kubernetes_nodes import ClusterNode, Nodes
from sim.engine.kubernetes_pods import Gateway, Pod, Process, Slot, Workload
from sim.engine.kubernetes_services import Service
from sim.engine.service import Replica
from sim.engine.world import Daemon, World
from sim.program import PUBLIC
from sim.protocols import kubernetes_kubelet as kubelet
from sim.protocols import kubernetes_services as services
from sim.protocols import kubernetes_workloads as workloads

if TYPE_CHECKING:
    from sim.engine.deployment import Deployment

ROUTED = frozenset({"iam", "nginx", "haproxy"})
"""Roles that are asked through a Service, which spreads connections over ready pods. So are databases by the
identity service; their peers, and those of a cache, know each pod by an address that is always published."""


class Clusters:
    """All sites' clusters."""

    def __init__(self, deployment: Deployment) -> None:
        world = deployment.world
        data = world.program.platform
        assert data is not None
        self.clusters = [Cluster(world, site, data) for site in range(len(world.program.sites))]
        for component, pod in zip(world.program.components, data["pods"], strict=True):
            daemon = world.daemons[component.name]
            self.clusters[component.site].add(daemon, pod)
        for cluster in self.clusters:
            cluster.begin()
        for replica in deployment.replicas:
            replica.finds_database = partial(self._finds, replica)

    def _finds(self, replica: Replica) -> bool:
        """Whether a name leads the replica to a Service, and the Service to a ready member."""
        if self.clusters[replica.site].dns_down:
            return False
        member = replica.member
        service = self.clusters[member.site].service_of(member)
        return service is None or bool(service.programmed)

    def knows(self, site: int) -> bool:
        """Whether somebody can be asked about the pods of a site."""
        return self.clusters[site].api_up

    def slots(self, target: str) -> list[Slot]:
        """The slots that a fault's target names.

        Raises:
            ValueError: it names nothing.
        """
        named = [
            slot for cluster in self.clusters for workload in cluster.workloads for slot in workload.slots
        ]
        found = [slot for slot in named if slot.name in (target, target.removesuffix("/0"))]
        found = found or [slot for slot in named if slot.name.rpartition("/")[0] == target]
        if not found:
            raise ValueError(f"there is no {target}; there are {', '.join(slot.name for slot in named)}")
        return found


class Cluster:
    """One site's cluster.

    Attributes:
        settings: of topologies.kubernetes, as plain data.
        nodes: the first is the control plane and stands on the wide-area network.
        workloads: in file order, the gateway's last.
        api_faults: how many faults keep the API server down.
        dns_down: its CoreDNS does not answer.
    """

    def __init__(self, world: World, site: int, data: dict[str, Any]) -> None:
        self.world = world
        self.site = site
        self.name = world.program.sites[site]
        self.settings: dict[str, Any] = data["settings"]
        self.nodes = [ClusterNode(f"{self.name}/{index}") for index in range(data["nodes"][site])]
        self.workloads: list[Workload] = []
        self.api_faults = 0
        self.dns_down = False
        self._was_up = True
        self._waiting: list[Callable[[], None]] = []
        self._unscheduled: list[Pod] = []
        self._draws = world.streams.get("cluster", self.name)
        self._runner = services.Runner(self.settings["proxy_min_sync_period"])
        self._dirty: dict[Service, None] = {}
        self.kubelet = Kubelet(self)
        self.monitor = Nodes(self)
        if data["gateways"][site]:
            gateway = Workload(self, f"gateway@{self.name}", "gateway", stateful=False)
            slot = Slot(gateway, gateway.name, Gateway(self), 0.0)
            slot.pinned = 0
            gateway.slots.append(slot)
            self.workloads.append(gateway)
            self._standing(slot, 0)

    # -- how it stands at the beginning ------------------------------------------------------

    def add(self, daemon: Daemon, pod: dict[str, Any]) -> None:
        """Put a daemon into a pod that has been running for long."""
        name = daemon.name.partition("/")[0]
        workload = next((found for found in self.workloads if found.name == name), None)
        if workload is None:
            workload = Workload(self, name, daemon.component.kind, pod["stateful"])
            self.workloads.append(workload)
        slot = Slot(workload, daemon.name, Process(daemon), pod["cpu"])
        slot.pinned = pod["node"] if pod["pinned"] else None
        workload.slots.append(slot)
        self._standing(slot, pod["node"])

    def _standing(self, slot: Slot, node: int) -> None:
        pod = Pod(slot, node, self.world.env)
        pod.has_address = pod.ready = pod.seen_ready = True
        for prober in pod.probers():
            kubelet.container_started(prober, -1e9)
            prober.healthy = prober.last = True
        slot.pods.append(pod)
        slot.live.append(pod)

    def begin(self) -> None:
        """Set Services up and start probing."""
        for workload in self.workloads:
            if workload.role in ROUTED or workload.role == "db":
                service = workload.service = Service(self, workload)
                for slot in workload.slots if workload.role in ROUTED else ():
                    slot.process.daemon.route = service.connect
            for slot in workload.slots:
                for pod in slot.pods:
                    self.kubelet.watch(pod, self.draw())
        self.monitor.begin()

    def service_of(self, daemon: Daemon) -> Service | None:
        """The Service of the workload that a daemon belongs to."""
        name = daemon.name.partition("/")[0]
        return next((found.service for found in self.workloads if found.name == name), None)

    # -- small things ------------------------------------------------------------------------

    def draw(self) -> float:
        """A uniform random number."""
        return self._draws.uniform(self._draws.next())

    def cost(self, name: str) -> float:
        """One draw of a time of PodTimes."""
        return self.world.cost(f"pod_{name}", "pod", f"{self.name}/{name}")

    def event(self, component: str, kind: str, detail: str = "") -> None:
        """Log something."""
        self.world.recorder.event(component, kind, detail)

    def pods_on(self, node: int) -> list[Pod]:
        """Pods bound to a node."""
        return [
            pod
            for workload in self.workloads
            for slot in workload.slots
            for pod in slot.pods
            if pod.node == node
        ]

    # -- the API -----------------------------------------------------------------------------

    @property
    def api_up(self) -> bool:
        """Whether the API server answers, and with it the controllers."""
        first = self.nodes[0]
        return first.running and not first.paused and not self.api_faults

    def api_changed(self) -> None:
        """Note for the record when the API server has gone or come."""
        if self._was_up != self.api_up:
            self._was_up = self.api_up
            self.event(f"api@{self.name}", "api.reachable" if self.api_up else "api.unreachable")

    def api(self, call: Callable[[], None]) -> None:
        """Do ``call`` now, or as soon as the API server is back."""
        if self.api_up:
            call()
        else:
            self._waiting.append(call)

    def react(self, call: Callable[[], None]) -> None:
        """Do ``call`` when a controller has seen the latest change and written its answer."""
        self.world.at(self.cost("reaction"), lambda: self.api(call))

    def api_returned(self) -> None:
        """What waited is done now; controllers that start anew give every node its full grace period."""
        self.api_changed()
        if not self.api_up:
            return
        self.monitor.forget()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self.react(call)

    # -- pods --------------------------------------------------------------------------------

    def reconcile(self, workload: Workload) -> None:
        """The workload's controller looks at its pods after something has changed."""
        self.react(lambda: self._reconcile(workload))

    def _reconcile(self, workload: Workload) -> None:
        ordered = workload.stateful and self.settings["pod_management"] == "OrderedReady"
        for slot in workload.slots:
            missing = not slot.pods if workload.stateful else slot.current is None
            if slot.wanted and missing:
                self.create(slot)
            current = slot.current
            if ordered and slot.wanted and (current is None or not current.seen_ready):
                return  # the next one waits for it

    def create(self, slot: Slot) -> Pod:
        """Make a pod."""
        pod = Pod(slot, None, self.world.env)
        slot.pods.append(pod)
        self.event(slot.name, "pod.created")
        self._unscheduled.append(pod)
        self.world.at(self.cost("schedule"), lambda: self.api(self.schedule))
        return pod

    def schedule(self) -> None:
        """Give every waiting pod a node, if there is one for it."""
        waiting, self._unscheduled = self._unscheduled, []
        for pod in waiting:
            if pod.gone or pod.terminating:
                continue
            pod.node = self._place(pod)
            if pod.node is None:
                self._unscheduled.append(pod)
            else:
                self.kubelet.run(pod)

    def _place(self, pod: Pod) -> int | None:
        slot = pod.slot
        if slot.workload.role == "gateway":  # tolerates everything, and belongs to the first node
            return 0
        seen = []
        for index, node in enumerate(self.nodes):
            here = self.pods_on(index)
            requested = sum(other.slot.cpu for other in here) + workloads.CONTROL_PLANE_CPU * (not index)
            same = sum(other.slot.workload is slot.workload for other in here)
            seen.append(workloads.Node(requested, same, node.ready and not node.cordoned))
        return workloads.place(seen, slot.cpu, slot.pinned)

    def delete(self, pod: Pod, grace: float | None = None) -> None:
        """Delete a pod; with ``grace`` 0 its object is gone at once, whatever becomes of its processes."""
        if pod.terminating or pod.gone:
            return
        pod.terminating = True
        settings = pod.slot.workload.settings
        self.event(pod.name, "pod.deleted")
        pod.ending = kubelet.ending(
            settings["termination_grace_period"] if grace is None else grace,
            0.0 if grace == 0 else settings["pre_stop_sleep"],
        )
        if pod.node is None or grace == 0:
            self.remove(pod)
        else:
            self.changed(pod)
            if workloads.replaced_at_once(pod.slot.workload.stateful):
                self.reconcile(pod.slot.workload)
        self.world.at(self.cost("reaction"), lambda: self.kubelet.end(pod))

    def remove(self, pod: Pod) -> None:
        """The pod's object is gone."""
        if not pod.gone:
            pod.gone = True
            pod.slot.pods.remove(pod)
            self.changed(pod)
            self.reconcile(pod.slot.workload)

    def report(self, pod: Pod, ready: bool) -> None:
        """The kubelet tells the API whether a pod is ready."""
        pod.ready = ready
        self.react(lambda: self.see(pod, pod.ready))

    def see(self, pod: Pod, ready: bool) -> None:
        """The API has another value of a pod's Ready condition."""
        if pod.gone or pod.seen_ready == ready:
            return
        pod.seen_ready = ready
        self.event(pod.name, "pod.ready" if ready else "pod.not-ready")
        if ready and not pod.on_ready.triggered:
            pod.on_ready.succeed()
        self.changed(pod)
        if ready:
            self.reconcile(pod.slot.workload)

    # -- Services ----------------------------------------------------------------------------

    def changed(self, pod: Pod) -> None:
        """Something about the pod matters to its Service: EndpointSlice, then kube-proxy."""
        service = pod.slot.workload.service
        if service is not None:
            delay = self.cost("reaction") + self.settings["endpoints_batch_period"]
            self.world.at(delay, lambda: self.api(lambda: self._endpoints_written(service)))

    def _endpoints_written(self, service: Service) -> None:
        self._dirty[service] = None
        wanted = self._runner.due == float("inf")
        due = services.request(self._runner, self.world.env.now)
        if wanted:
            self.world.at(due - self.world.env.now, self._program)

    def _program(self) -> None:
        services.began(self._runner, self.world.env.now)
        dirty, self._dirty = self._dirty, {}
        for service in dirty:
            service.program()

    def is_entered(self, workload: Workload) -> bool:
        """Whether connections find their way into the cluster: they come through its first node."""
        return self.nodes[0].running

    # -- the way out -------------------------------------------------------------------------

    def disconnect(self, path: int) -> None:
        """Nothing passes between this site and the others."""
        network = self.world.network
        for other in range(network.count):
            if other != self.site:
                network.cut(path, self.site, other)
                network.cut(path, other, self.site)
        network.apply()

    def connect(self, path: int) -> None:
        """Take `disconnect` back."""
        network = self.world.network
        for other in range(network.count):
            if other != self.site:
                network.repair(path, self.site, other)
                network.repair(path, other, self.site)
        network.apply()

    def lose_wan(self) -> None:
        """The node that stands on the wide-area network is gone."""
        self.disconnect(PUBLIC)

    def regain_wan(self) -> None:
        """It is back."""
        self.connect(PUBLIC)
