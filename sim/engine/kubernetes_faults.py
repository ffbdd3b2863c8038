"""Faults of clusters in the model, and what the general ones mean for pods."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import simpy

from experiments import kubernetes_faults as kinds
from experiments.faults import Fault, Kill, Pause
from experiments.names import node_parts
from sim.engine.kubernetes_pods import Pod, Slot, Workload
from sim.protocols import kubernetes_workloads as protocol

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster, Clusters

Undo = Callable[[], None]
Steps = Generator[simpy.Event, Any, Any]


def nothing() -> None:
    """The inverse of what a cluster puts right by itself."""


def inject(clusters: Clusters, fault: Fault) -> Undo | None:
    """Put ``fault`` in force now and return its inverse; None when it is the same as without Kubernetes.

    Raises:
        ValueError: it names something that is not there.
    """
    if isinstance(fault, Kill):
        return _kill(clusters, fault)
    if isinstance(fault, Pause):
        return _pause(clusters.slots(fault.target))
    if not isinstance(fault, kinds.KubernetesFault):
        return None
    if isinstance(fault, kinds.TargetFault):
        return _on_pods(clusters, fault)
    cluster = _cluster(clusters, fault.cluster)
    if isinstance(fault, kinds.NodeFault):
        node = node_parts(fault.node)[1]
        if node >= len(cluster.nodes):
            raise ValueError(f"there is no node {fault.node}: {cluster.name} has {len(cluster.nodes)}")
        return _on_node(cluster, fault, node)
    if isinstance(fault, kinds.ScaleToZero):
        return _scale(_workload(clusters, fault.target))
    if isinstance(fault, kinds.RollingRestart):
        workload = _workload(clusters, fault.target)
        cluster.react(lambda: _process(cluster, _roll(cluster, workload)))
        return nothing
    if isinstance(fault, kinds.GatewayKill):
        for slot in _workload(clusters, f"gateway@{fault.site}").slots:
            for pod in list(slot.pods):
                _destroy(cluster, pod)
        return nothing
    if isinstance(fault, kinds.ClusterStop):
        return _cluster_stop(cluster)
    if isinstance(fault, kinds.ApiServerDown):
        return _api_server(cluster)
    return _coredns(cluster)


def _cluster(clusters: Clusters, site: str) -> Cluster:
    for cluster in clusters.clusters:
        if cluster.name == site:
            return cluster
    raise ValueError(f"there is no site {site}")


def _workload(clusters: Clusters, target: str) -> Workload:
    for cluster in clusters.clusters:
        for workload in cluster.workloads:
            if workload.name == target:
                return workload
    raise ValueError(f"there is no {target}")


def _process(cluster: Cluster, steps: Steps) -> None:
    cluster.world.env.process(steps)


# -- pods ------------------------------------------------------------------------------------


def _destroy(cluster: Cluster, pod: Pod) -> None:
    """End the pod's processes now and take its object away."""
    pod.ended = True
    cluster.kubelet.container_gone(pod)
    cluster.api(lambda: cluster.delete(pod, grace=0.0))


def _kill(clusters: Clusters, fault: Kill) -> Undo:
    """Dead at once, and held down: nothing replaces it until the undo."""
    killed = [slot for slot in clusters.slots(fault.target) if slot.wanted and slot.live]
    for slot in killed:
        slot.wanted = False
        for pod in list(slot.pods):
            if fault.signal == "KILL":
                _destroy(slot.workload.cluster, pod)
            else:
                slot.workload.cluster.delete(pod)

    def undo() -> None:
        for slot in killed:
            slot.wanted = True
            slot.workload.cluster.reconcile(slot.workload)

    return undo


def _pause(slots: list[Slot]) -> Undo:
    paused = [slot for slot in slots if slot.live and slot.process.answering]
    for slot in paused:
        slot.process.pause()

    def undo() -> None:
        for slot in paused:
            slot.process.resume()

    return undo


def _on_pods(clusters: Clusters, fault: kinds.TargetFault) -> Undo:
    slots = clusters.slots(fault.target)
    cluster = slots[0].workload.cluster
    if isinstance(fault, kinds.PodDelete):
        for pod in [pod for slot in slots if (pod := slot.current) is not None]:
            cluster.api(lambda pod=pod: cluster.delete(pod, fault.grace))  # type: ignore[misc]
        return nothing
    if isinstance(fault, kinds.ContainerKill):
        for slot in slots:
            for pod in list(slot.live):
                cluster.kubelet.died(pod)
        return nothing
    # Isolated: who sends nothing and hears nothing is to all others like one that is stopped; its own
    # node still reaches it, so that its probes succeed.
    reached = [slot for slot in slots if slot.live and slot.process.answering]
    for slot in reached:
        slot.process.isolated = slot.workload.role != "iam"  # its health page asks the database
        slot.process.pause()

    def undo() -> None:
        for slot in reached:
            slot.process.isolated = False
            slot.process.resume()

    return undo


def _scale(workload: Workload) -> Undo:
    cluster = workload.cluster
    scaled = [slot for slot in workload.slots if slot.wanted]

    def delete() -> None:
        for slot in reversed(scaled):
            pod = slot.current
            if not slot.wanted and pod is not None:
                cluster.delete(pod)

    for slot in scaled:
        slot.wanted = False
    cluster.react(delete)

    def undo() -> None:
        for slot in scaled:
            slot.wanted = True
        cluster.reconcile(workload)

    return undo


def _roll(cluster: Cluster, workload: Workload) -> Steps:
    """Replace all pods by the workload's own strategy."""
    env, settings = cluster.world.env, cluster.settings
    count = len(workload.slots)
    if workload.stateful:
        for slot in reversed(workload.slots):  # from the last to the first, one at a time
            old = slot.current
            if old is not None:
                cluster.delete(old)
                yield from _ready(env, slot, old)
                yield env.timeout(settings["min_ready"])
        return
    from topologies.kubernetes import Kubernetes

    surge, unavailable = Kubernetes(
        max_surge=settings["max_surge"], max_unavailable=settings["max_unavailable"]
    ).surge(count)
    left = list(workload.slots)
    while left:
        first = protocol.roll(count, surge, unavailable, len(left), count - len(left), count)
        batch, left = left[: max(1, first.create + first.delete)], left[max(1, first.create + first.delete) :]
        if first.create:
            fresh = [(slot.current, cluster.create(slot)) for slot in batch]
            for old, new in fresh:
                yield new.on_ready
                yield env.timeout(settings["min_ready"])
                if old is not None:
                    cluster.delete(old)
        else:
            gone = [(slot, slot.current) for slot in batch]
            for _, old in gone:
                if old is not None:
                    cluster.delete(old)
            for slot, old in gone:
                yield from _ready(env, slot, old)
                yield env.timeout(settings["min_ready"])


def _ready(env: simpy.Environment, slot: Slot, old: Pod | None) -> Steps:
    """Wait until another pod than ``old`` is ready in the slot."""
    while True:
        pod = slot.current
        if pod is not None and pod is not old:
            if pod.seen_ready:
                return
            yield env.any_of([pod.on_ready, env.timeout(1.0)])
        else:
            yield env.timeout(0.1)


# -- nodes and the API -----------------------------------------------------------------------


def _on_node(cluster: Cluster, fault: kinds.NodeFault, node: int) -> Undo:
    monitor, found = cluster.monitor, cluster.nodes[node]
    if isinstance(fault, kinds.NodeStop):
        monitor.stop(node)
        return lambda: monitor.start(node)
    if isinstance(fault, kinds.NodePause):
        monitor.pause(node)
        return lambda: monitor.resume(node)
    if isinstance(fault, kinds.KubeletStop):
        found.kubelet = False
        return lambda: cluster.world.at(
            cluster.cost("kubelet"), lambda: monitor.kubelet_started(node, fresh=False)
        )
    found.cordoned = True
    cluster.event(found.name, "node.cordoned")
    if isinstance(fault, kinds.NodeDrain):
        _process(cluster, _drain(cluster, node, fault.grace))

    def undo() -> None:
        found.cordoned = False
        cluster.event(found.name, "node.uncordoned")
        cluster.react(cluster.schedule)

    return undo


def _cluster_stop(cluster: Cluster) -> Undo:
    nodes = range(len(cluster.nodes))
    for node in nodes:
        cluster.monitor.stop(node)

    def undo() -> None:
        for node in nodes:
            cluster.monitor.start(node)

    return undo


def _drain(cluster: Cluster, node: int, grace: float | None) -> Steps:
    """Evict the node's pods; those that a budget protects are asked for again."""
    left = cluster.pods_on(node)
    while left and cluster.nodes[node].cordoned:
        refused = []
        for pod in left:
            workload = pod.slot.workload
            budget = cluster.settings["disruption_budget"]
            allowed = workload.role == "gateway" or protocol.may_evict(
                workload.ready(), len(workload.slots), budget, pod.seen_ready
            )
            if allowed:
                cluster.delete(pod, grace)
            else:
                refused.append(pod)
        left = [pod for pod in refused if not pod.terminating and not pod.gone]
        yield cluster.world.env.timeout(protocol.DRAIN_RETRY)


def _coredns(cluster: Cluster) -> Undo:
    """Names do not resolve: new connections to the database fail, and proxies do not start."""
    cluster.dns_down = True

    def back() -> None:
        cluster.dns_down = False

    def undo() -> None:
        delay = cluster.cost("schedule") + cluster.cost("sandbox") + cluster.cost("container")
        cluster.world.at(delay, back)

    return undo


def _api_server(cluster: Cluster) -> Undo:
    cluster.api_faults += 1
    cluster.api_changed()

    def back() -> None:
        cluster.api_faults -= 1
        cluster.api_returned()

    return lambda: cluster.world.at(cluster.cost("api"), back)
