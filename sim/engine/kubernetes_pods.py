"""Pods, the workloads they belong to, and what runs inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import simpy

from sim.engine.database import Member
from sim.engine.galera_member import GaleraMember
from sim.engine.kubernetes_services import Service
from sim.engine.world import Daemon
from sim.program import VPN
from sim.protocols import kubernetes_kubelet as kubelet

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster


class Process:
    """What a container runs: a daemon of the deployment.

    Attributes:
        daemon: of the model without Kubernetes.
        isolated: no packet reaches it or leaves it, except those of its own node.
    """

    daemon: Daemon

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.isolated = False

    @property
    def answering(self) -> bool:
        """Whether it would answer its own node."""
        return self.isolated or self.daemon.answering

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.daemon.up

    def start_seconds(self) -> float:
        """One draw of the time from the container's start until the process serves."""
        daemon = self.daemon
        if isinstance(daemon, Member):
            return daemon.database.start_time(daemon)
        kind = daemon.component.kind
        cost = f"start_{'redis' if kind == 'sentinel' else kind}"
        return daemon.world.cost(cost, "start", daemon.name)

    def is_remembered(self) -> bool:
        """Whether another member still counts this one, which is down, among its component.

        Galera would refuse its name: so the entry point of the lab's pods asks the others first.
        """
        member = self.daemon
        if not isinstance(member, GaleraMember):
            return False
        blocked = member.world.network.blocked[VPN]
        return any(
            other is not member
            and other.answering
            and not blocked[member.site][other.site]
            and not blocked[other.site][member.site]
            and member.cluster.group.mask(other.index) >> member.index & 1
            for other in member.cluster.galera_members
        )

    def stop_seconds(self) -> float:
        """One draw of the time from SIGTERM until it has ended."""
        cost = "pod_stop_db" if isinstance(self.daemon, Member) else "pod_stop"
        return self.daemon.world.cost(cost, "pod.stop", self.daemon.name)

    def says_goodbye(self) -> bool:
        """Whether SIGTERM makes it useless at once: a database server leaves its group first."""
        return isinstance(self.daemon, Member)

    def start(self) -> None:
        """The process serves."""
        if isinstance(self.daemon, Member):
            self.daemon.database.started(self.daemon)
        else:
            self.daemon.start()

    def stop(self, graceful: bool) -> None:
        """The process ends now."""
        if not self.daemon.up:
            return
        if isinstance(self.daemon, Member):
            self.daemon.database.kill(self.daemon, graceful=graceful)
        else:
            self.daemon.kill()

    def pause(self) -> None:
        """Its node stands still."""
        self.daemon.pause()

    def resume(self) -> None:
        """Its node goes on."""
        self.daemon.resume()


class Gateway(Process):
    """The end of a site's VPN links: without it nothing passes between its cluster and the others.

    A fresh tunnel has no keys and shakes hands as soon as its side has something to send, which takes
    one round trip (components.md 7.1).
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._up = True
        self._paused = False
        self.isolated = False

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._up

    @property
    def answering(self) -> bool:
        """Whether it runs and does not stand still."""
        return self._up and not self._paused

    def start_seconds(self) -> float:
        """Until its links are configured, and hands are shaken over the longest of them."""
        world, site = self._cluster.world, self._cluster.site
        longest = max((world.network.rtt(VPN, site, other) for other in self._others()), default=0.0)
        return self._cluster.cost("gateway") + longest

    def is_remembered(self) -> bool:
        """Nobody minds its name."""
        return False

    def stop_seconds(self) -> float:
        """It needs no time."""
        return 0.0

    def says_goodbye(self) -> bool:
        """It ends at once."""
        return False

    def start(self) -> None:
        """Packets pass again."""
        if not self._up:
            self._up = True
            self._cluster.connect(VPN)

    def stop(self, graceful: bool) -> None:
        """Nothing passes any more."""
        if self._paused:
            self.resume()
        if self._up:
            self._up = False
            self._cluster.disconnect(VPN)

    def pause(self) -> None:
        """Encryption in user space stands still with its node."""
        if self._up and not self._paused:
            self._paused = True
            self._cluster.disconnect(VPN)

    def resume(self) -> None:
        """Packets pass again, under the keys that still hold."""
        if self._paused:
            self._paused = False
            self._cluster.connect(VPN)

    def _others(self) -> list[int]:
        return [site for site in range(len(self._cluster.world.program.sites)) if site != self._cluster.site]


class Pod:
    """One pod object, from its creation until it is gone.

    Attributes:
        node: where it is bound; None while it waits for one.
        has_address: its sandbox stands.
        epoch: changes whenever its container ends: what was planned for the old one is void.
        ready: the kubelet's view of its Ready condition; `seen_ready` is the API's.
        ended: its container will not be started again.
        ending: when it gets its signals, once it is being deleted.
        prober: of its readiness; None without a readiness probe.
        wake: happens when the kubelet probes out of turn.
    """

    def __init__(self, slot: Slot, node: int | None, env: simpy.Environment) -> None:
        self.slot = slot
        self.node = node
        self.has_address = False
        self.epoch = 0
        self.ready = False
        self.seen_ready = False
        self.terminating = False
        self.ended = False
        self.ending = kubelet.ending(0.0)
        self.gone = False
        settings = slot.workload.settings
        self.prober = kubelet.new_prober(probe(settings["readiness"])) if settings["readiness"] else None
        self.liveness = (
            kubelet.new_prober(probe(settings["liveness"]), liveness=True) if settings["liveness"] else None
        )
        self.backoff = kubelet.BackOff(slot.workload.cluster.settings["crash_backoff_max"])
        self.wake = env.event()
        self.on_ready = env.event()
        self.watched = self.watched_alive = False

    @property
    def name(self) -> str:
        """The component's name: it is the same for all pods that follow one another."""
        return self.slot.name

    def probers(self) -> list[kubelet.Prober]:
        """Its probes."""
        return [found for found in (self.prober, self.liveness) if found is not None]


def probe(data: dict[str, Any]) -> kubelet.ProbeSettings:
    """A probe's settings from plain data."""
    return kubelet.ProbeSettings(**{name: data[name] for name in kubelet.ProbeSettings._fields})


class Slot:
    """One of a workload's replicas: the pods that have followed one another in its place.

    Attributes:
        pods: those that are not gone, the oldest first.
        live: those whose process runs.
        pinned: node that its volume is on.
    """

    def __init__(self, workload: Workload, name: str, process: Process, cpu: float) -> None:
        self.workload = workload
        self.name = name
        self.process = process
        self.cpu = cpu
        self.pods: list[Pod] = []
        self.live: list[Pod] = []
        self.pinned: int | None = None
        self.wanted = True

    @property
    def current(self) -> Pod | None:
        """The pod that counts: the newest that is not being deleted."""
        return next((pod for pod in reversed(self.pods) if not pod.terminating), None)

    def entered(self, pod: Pod) -> None:
        """The process of ``pod`` serves.

        A predecessor that stands still with its node counts no more: it is deleted when the node is back.
        """
        nodes = self.workload.cluster.nodes
        frozen = [other for other in self.live if other.node is not None and nodes[other.node].paused]
        if frozen and len(frozen) == len(self.live):
            self.live.clear()
            self.process.stop(graceful=False)
        if not self.live:
            # A moment later, so that what was inside the old process has fallen out of it.
            self.workload.cluster.world.at(1e-3, self.process.start)
        self.live.append(pod)

    def left(self, pod: Pod, graceful: bool) -> None:
        """The process of ``pod`` has ended."""
        if pod in self.live:
            self.live.remove(pod)
            if not self.live:
                self.process.stop(graceful)


class Workload:
    """A Deployment or a StatefulSet.

    Attributes:
        name: of the service at its site.
        service: None where peers know every pod by its own address.
    """

    def __init__(self, cluster: Cluster, name: str, role: str, stateful: bool) -> None:
        self.cluster = cluster
        self.name = name
        self.role = role
        self.stateful = stateful
        self.settings: dict[str, Any] = cluster.settings["pods"][role]
        self.slots: list[Slot] = []
        self.service: Service | None = None

    def ready(self) -> int:
        """Pods that are ready and stay."""
        return sum(any(pod.seen_ready and not pod.terminating for pod in slot.pods) for slot in self.slots)
