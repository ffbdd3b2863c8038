"""The kubelets of a cluster: they run pods, probe them, restart their containers and end them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from sim.engine.database import Member
from sim.engine.health import health_call
from sim.engine.kubernetes_pods import Gateway, Pod
from sim.engine.service import Replica
from sim.protocols import kubernetes_kubelet as protocol

if TYPE_CHECKING:
    from sim.engine.kubernetes import Cluster

Steps = Generator[simpy.Event, Any, Any]

RESOLVE_AT_START = frozenset({"nginx", "haproxy"})
"""Roles that look up their servers once, and do not start when they cannot."""

LOOK_PERIOD = 0.5
FORGOTTEN_WITHIN = 60.0
"""A member that is started again asks this often, and for this long, whether it is forgotten (the lab's own
entry point of database pods)."""

RECOVERY_SHARE = 0.3
"""Part of a database's start that comes before that: finding out how far its data is."""

PROBED_BY_CONNECTION = frozenset({"redis", "sentinel"})
"""Roles with a TCP probe: the kernel answers it even for a process that stands still."""


class Kubelet:
    """What every node's kubelet does with its pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world

    def works(self, pod: Pod) -> bool:
        """Whether the kubelet of the pod's node runs."""
        return pod.node is not None and self._cluster.nodes[pod.node].kubelet_works

    # -- starting ----------------------------------------------------------------------------

    def run(self, pod: Pod) -> None:
        """A pod was bound to the node: make its sandbox, then its container."""
        if not self.works(pod):
            return  # it is found when the kubelet is back
        epoch = pod.epoch = pod.epoch + 1
        self.watch(pod, 0.0)
        self._world.at(self._cluster.cost("sandbox"), lambda: self._sandbox(pod, epoch))

    def _sandbox(self, pod: Pod, epoch: int) -> None:
        if pod.epoch == epoch and not pod.ended and self.works(pod):
            pod.has_address = True
            self._container(pod)

    def _container(self, pod: Pod) -> None:
        epoch = pod.epoch = pod.epoch + 1
        self._world.at(self._cluster.cost("container"), lambda: self._started(pod, epoch))

    def _started(self, pod: Pod, epoch: int) -> None:
        if pod.epoch != epoch or pod.ended or not self.works(pod):
            return
        for prober in pod.probers():
            protocol.container_started(prober, self._world.env.now)
        seen = protocol.RELIST_PERIOD * self._cluster.draw()
        self._world.at(seen, lambda: self._seen_running(pod, epoch))
        seconds = pod.slot.process.start_seconds()
        limit = self._world.env.now + FORGOTTEN_WITHIN
        first, rest = RECOVERY_SHARE * seconds, (1 - RECOVERY_SHARE) * seconds
        self._world.at(first, lambda: self._recovered(pod, epoch, rest, limit))

    def _recovered(self, pod: Pod, epoch: int, rest: float, limit: float) -> None:
        """A database member waits until the others have noticed that it was gone."""
        if pod.epoch != epoch or pod.ended:
            return
        if pod.slot.process.is_remembered() and self._world.env.now < limit:
            self._world.at(LOOK_PERIOD, lambda: self._recovered(pod, epoch, rest, limit))
        else:
            self._world.at(rest, lambda: self._serves(pod, epoch))

    def _seen_running(self, pod: Pod, epoch: int) -> None:
        if pod.epoch != epoch or pod.ended:
            return
        if pod.prober is None:
            self._cluster.report(pod, True)
        else:
            happened, pod.wake = pod.wake, self._world.env.event()
            happened.succeed()

    def _serves(self, pod: Pod, epoch: int) -> None:
        if pod.epoch != epoch or pod.ended:
            return
        slot = pod.slot
        if slot.workload.stateful and slot.live:
            # Its data is still locked by the predecessor, which was deleted by force.
            self._world.at(protocol.RELIST_PERIOD, lambda: self._serves(pod, epoch))
            return
        slot.entered(pod)
        if slot.workload.role in RESOLVE_AT_START and self._cluster.dns_down:
            self.died(pod)  # it cannot resolve the names of its servers, and exits

    # -- ending ------------------------------------------------------------------------------

    def end(self, pod: Pod) -> None:
        """The kubelet is told to end a pod."""
        if pod.ended or not self.works(pod):
            return  # without a kubelet that has to wait until it is back
        if pod not in pod.slot.live:
            self.ended(pod)
            return
        self._world.at(pod.ending.term, lambda: self._term(pod))
        self._world.at(pod.ending.kill, lambda: self.ended(pod))

    def _term(self, pod: Pod) -> None:
        process = pod.slot.process
        if pod.ended or not process.answering:
            return  # a stopped process acts on no signal but SIGKILL
        if process.says_goodbye():
            pod.slot.left(pod, graceful=True)
        self._world.at(process.stop_seconds(), lambda: self.ended(pod))

    def ended(self, pod: Pod) -> None:
        """All of a pod that is being deleted has ended."""
        if pod.ended or not self.works(pod):
            return
        pod.ended = True
        self.container_gone(pod)
        self._cluster.report(pod, False)
        self._cluster.react(lambda: self._cluster.remove(pod))

    def container_gone(self, pod: Pod) -> None:
        """The container's processes are dead."""
        pod.epoch += 1
        for prober in pod.probers():
            protocol.container_ended(prober)
        pod.slot.left(pod, graceful=False)

    def died(self, pod: Pod) -> None:
        """The container died by itself: the kubelet notices at its next look and starts another."""
        if pod.ended or pod not in pod.slot.live:
            return
        died_at = self._world.env.now
        self.container_gone(pod)
        epoch = pod.epoch
        delay = protocol.RELIST_PERIOD * self._cluster.draw()
        self._world.at(delay, lambda: self._seen_dead(pod, epoch, died_at))

    def _seen_dead(self, pod: Pod, epoch: int, died_at: float) -> None:
        if pod.epoch != epoch or pod.ended or not self.works(pod):
            return
        self._cluster.report(pod, False)
        now = self._world.env.now
        at = protocol.restart_at(pod.backoff, died_at, now)
        self._cluster.event(pod.name, "container.restart", f"in {at - now:.0f}s")
        self._world.at(at - now, lambda: self._restart(pod, epoch))

    def _restart(self, pod: Pod, epoch: int) -> None:
        if pod.epoch == epoch and not pod.ended and self.works(pod):
            self._container(pod)

    # -- coming back -------------------------------------------------------------------------

    def returned(self, node: int, fresh: bool) -> None:
        """A kubelet works again: it ends what was deleted meanwhile and runs what should run.

        Args:
            node: its node.
            fresh: the node was started anew, so that nothing of its pods is left.
        """
        for pod in self._cluster.pods_on(node):
            if pod.gone:
                continue
            if pod.terminating:
                self.end(pod)
            elif fresh:
                pod.has_address = False
                self._cluster.report(pod, False)
                self.run(pod)
            elif pod not in pod.slot.live:
                self.run(pod)
            elif pod.ready and not pod.seen_ready:
                delay = protocol.STATUS_PERIOD * self._cluster.draw()
                self._world.at(delay, lambda pod=pod: self._correct(pod))  # type: ignore[misc]

    def _correct(self, pod: Pod) -> None:
        """The status manager finds that the API has another opinion of a pod."""
        if pod.ready and self.works(pod):
            self._cluster.report(pod, True)

    # -- probing -----------------------------------------------------------------------------

    def watch(self, pod: Pod, phase: float) -> None:
        """Probe a pod; ``phase`` is the share of the period that has passed since the last tick."""
        if pod.prober is not None and not pod.watched:
            pod.watched = True
            self._world.env.process(self._probe(pod, pod.prober, phase))
        if pod.liveness is not None and not pod.watched_alive:
            pod.watched_alive = True
            self._world.env.process(self._probe(pod, pod.liveness, phase))

    def _probe(self, pod: Pod, prober: protocol.Prober, phase: float) -> Steps:
        env = self._world.env
        period = prober.settings.period
        tick = env.now + (1 - phase) * period
        if phase:
            yield env.timeout(tick - env.now)
            tick += period
        while not pod.gone:
            if protocol.is_due(prober, env.now) and self.works(pod):
                yield from self._probe_once(pod, prober)
            if tick > env.now:
                wait = env.timeout(tick - env.now)
                yield wait if prober.liveness else env.any_of([wait, pod.wake])
            # The ticks keep their pace; of those that pass during a long probe one is kept.
            while tick <= env.now:
                tick += period

    def _probe_once(self, pod: Pod, prober: protocol.Prober) -> Steps:
        epoch = pod.epoch
        ok = yield from self._ask(pod, prober.settings.timeout)
        if pod.epoch != epoch or pod.gone or not self.works(pod):
            return
        change = protocol.result(prober, ok)
        if not change:
            return
        if not prober.liveness:
            self._cluster.report(pod, ok)
        elif not pod.terminating:
            self._unhealthy(pod)

    def _unhealthy(self, pod: Pod) -> None:
        """A liveness probe has failed: end the container, gracefully if it listens, and start another."""
        ending = protocol.ending(pod.slot.workload.settings["termination_grace_period"])
        process, epoch = pod.slot.process, pod.epoch
        wait = process.stop_seconds() if process.answering else ending.kill

        def over() -> None:
            if pod.epoch == epoch:
                self.died(pod)

        self._world.at(wait, over)

    def _ask(self, pod: Pod, timeout: float) -> Steps:
        """Whether the container answers its probe in time."""
        env, process = self._world.env, pod.slot.process
        if pod not in pod.slot.live:
            return False  # refused at once
        if pod.slot.workload.role in PROBED_BY_CONNECTION:
            return True
        if not process.answering:
            yield env.timeout(timeout)
            return False
        daemon = None if isinstance(process, Gateway) else process.daemon
        if isinstance(daemon, Replica):
            call = health_call(self._world, self._world.streams.get("kubelet", pod.name), timeout)
            env.process(self._health(daemon, call))
            yield env.any_of([call.reply, env.timeout(timeout)])
            ok = call.outcome == "ok"
            call.finish(0, "timeout")
            return ok
        return not isinstance(daemon, Member) or process.isolated or daemon.serving()

    def _health(self, replica: Replica, call: Any) -> Steps:
        yield from replica.until_running()
        if replica.up:
            yield from replica.handle(call)
        call.finish(call.status)
