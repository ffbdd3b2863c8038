"""How long a cluster takes for what no timer rules: making a pod, starting a container, ending one.

Part of a calibration, measured on a lab at rest by replacing and killing single pods. The API server
says when a pod was made, bound and gone; the kernel says when its processes began, to a clock tick, so
that the kubelet's own delay in reporting them does not count.

What is not measured here keeps its shipped value: kube-proxy's writing of rules, and starting a whole
node, a kubelet or an API server, which would take minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chaos.errors import LabError
from chaos.faults.context import Component, resolve
from chaos.faults.kubernetes.container_kill import kill
from chaos.host.processes import Process
from chaos.kube.context import KubernetesContext, Pod

LOOK = 0.02
"""Seconds between two questions: the error bar of what the API server tells."""

PATIENCE = 60.0
RELIST = 0.5
"""Mean seconds until the kubelet notices a dead container: it looks once a second. The model draws that."""

FLOOR = 0.01


def now() -> float:
    """Seconds since the machine was started, as the kernel dates processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started_at(process: Process) -> float:
    """When the kernel started a process, in seconds since the machine was started."""
    return process.started / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Replacement:
    """One pod deleted and replaced, each moment in seconds since the machine was started.

    Attributes:
        asked: the deletion was in the API server's books.
        created: the successor was there.
        bound: it had a node.
        began: its container's first process was started.
        ended: the last process of the old container was gone.
    """

    asked: float
    created: float
    bound: float
    began: float
    ended: float


class Stopwatch:
    """Watches pods being replaced.

    Args:
        context: a lab that is up and at rest.
        clock: seconds since the machine was started.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        context: KubernetesContext,
        clock: Callable[[], float] = now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._context = context
        self._clock = clock
        self._sleep = sleep

    def replaced(self, pods: Callable[[], list[Pod]], site: str, grace: int | None = None) -> Replacement:
        """Delete the pod that ``pods`` lists and follow its successor until it runs.

        Raises:
            LabError: there is not exactly one, or no successor runs in time.
        """
        old = self._only(pods())
        self._context.actions(site).delete_pods([old], grace)
        asked = self._clock()  # the API server has set the deletion's time stamp
        created = bound = ended = 0.0
        deadline = asked + PATIENCE
        while self._clock() < deadline:
            fresh = [pod for pod in pods() if pod.uid != old.uid]
            seen = self._clock()
            if not ended and not self._processes(old):
                ended = seen
            if fresh:
                created = created or seen
                if fresh[0].node:
                    bound = bound or seen
                began = self._processes(fresh[0])
                if began and ended:
                    # A process that was there before the question was answered cannot be younger than it.
                    return Replacement(asked, min(created, began), min(bound, began), began, ended)
            self._sleep(LOOK)
        raise LabError(f"no successor of the pod {old.name} runs after {PATIENCE:.0f} s")

    def restarted(self, pods: Callable[[], list[Pod]]) -> float:
        """Kill the container of the pod that ``pods`` lists; seconds until the next one's first process.

        Raises:
            LabError: there is not exactly one, or it is not started again in time.
        """
        pod = self._only(pods())
        killed = self._clock()
        kill(self._context, list(pod.containers))
        while self._clock() < killed + PATIENCE:
            for found in pods():
                if found.uid == pod.uid and set(found.containers) - set(pod.containers):
                    began = self._processes(found)
                    if began:
                        return began - killed
            self._sleep(LOOK)
        raise LabError(f"the container of {pod.name} is not started again after {PATIENCE:.0f} s")

    def await_ready(self, pods: Callable[[], list[Pod]]) -> None:
        """Wait until what ``pods`` lists is ready.

        Raises:
            LabError: it is not in time.
        """
        deadline = self._clock() + PATIENCE
        while not _all_ready(pods()):
            if self._clock() > deadline:
                names = ", ".join(pod.name for pod in pods()) or "no pod"
                raise LabError(f"not ready again after {PATIENCE:.0f} s: {names}")
            self._sleep(10 * LOOK)

    def _only(self, pods: list[Pod]) -> Pod:
        if len(pods) != 1 or not pods[0].containers:
            raise LabError(f"expected one pod that runs, found {[pod.name for pod in pods]}")
        return pods[0]

    def _processes(self, pod: Pod) -> float:
        """When the first of the pod's living processes was started; 0 when it has none."""
        found = self._context.machines.processes(pod.containers) if pod.containers else []
        return min((started_at(process) for process in found), default=0.0)


def pod_times(
    context: KubernetesContext, targets: Mapping[str, str], rounds: int = 2, watch: Stopwatch | None = None
) -> dict[str, list[float]]:
    """Times of a cluster by name, as a calibration's `pods` has them.

    Args:
        context: a lab that is up and at rest.
        targets: `stateless` and `database` -> component, each with a single pod at its site.
        rounds: how often each pod is replaced. One container is killed once: the next kill would have
            to wait for the kubelet's back-off.
        watch: what measures.

    Returns:
        Samples of `reaction`, `schedule`, `container`, `sandbox`, `stop` and `stop_db`.

    Raises:
        LabError: a target is not there, or does not come back.
    """
    watch = watch or Stopwatch(context)
    stateless, database = (_one(context, targets[kind]) for kind in ("stateless", "database"))
    container = max(FLOOR, watch.restarted(lambda: context.pods(stateless)) - RELIST)
    watch.await_ready(lambda: context.pods(stateless))
    found: dict[str, list[float]] = {
        name: [] for name in ("reaction", "schedule", "sandbox", "stop", "stop_db")
    }
    found["container"] = [container]
    for _ in range(rounds):
        one = watch.replaced(lambda: context.pods(stateless), stateless.site)
        watch.await_ready(lambda: context.pods(stateless))
        reaction = max(FLOOR, one.created - one.asked)
        found["reaction"].append(reaction)
        found["schedule"].append(max(FLOOR, one.bound - one.created))
        found["sandbox"].append(max(FLOOR, one.began - one.bound - container))
        found["stop"].append(max(FLOOR, one.ended - one.asked - reaction))
        member = watch.replaced(lambda: context.pods(database), database.site)
        watch.await_ready(lambda: context.pods(database))
        found["stop_db"].append(max(FLOOR, member.ended - member.asked - reaction))
    return found


def _one(context: KubernetesContext, target: str) -> Component:
    [found] = resolve(target, context.components())
    return found


def _all_ready(pods: Sequence[Pod]) -> bool:
    return bool(pods) and all(pod.ready and not pod.deleting for pod in pods)
