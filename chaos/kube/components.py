"""The components of a lab on clusters as they are now: their pods, processes, and how to ask each.

A daemon in a pod is asked in the same ways as one of the local lab: over its socket file, which is seen
from this machine below `/proc/<pid>/root`, or over the network from inside its own pod. None of these ways
leads through the API server, past a NetworkPolicy, or over a link that a fault may have cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Component
from chaos.host import namespaces, processes
from chaos.host.processes import Process
from chaos.kube.actions import pod_of
from chaos.kube.addresses import FRONTEND_PORT, NAMESPACE
from chaos.kube.api import Cluster, Object, Unreachable
from chaos.kube.context import Pod
from chaos.kube.manifests.objects import HOME_PATH
from chaos.kube.manifests.pods import PodReference, pods
from chaos.lab.base import ComponentStatus
from chaos.lab.layout import Layout
from chaos.services import deployment
from chaos.services.daemon import Condition, Daemon, Role
from topologies.kubernetes import Role as PodRole
from topologies.model import Topology

PATIENCE = 1.0
"""Seconds for an API server to answer before what depends on it is unknown."""

ROLES: Mapping[PodRole, Role] = {
    "iam": "iam",
    "db": "mariadb",
    "redis": "redis",
    "sentinel": "sentinel",
    "nginx": "nginx",
    "haproxy": "haproxy",
}


@dataclass(frozen=True)
class Live:
    """A component as it is now.

    Attributes:
        reference: which one it is.
        pod: the pod that carries it; None when there is none.
        address: of the pod; empty before it has one.
        processes: of its container.
    """

    reference: PodReference
    pod: Pod | None = None
    address: str = ""
    processes: tuple[Process, ...] = ()

    def daemon(self, layout: Layout) -> Daemon:
        """What runs in it, for the questions that daemons are asked."""
        one = self.reference
        home = Path("/proc", str(self.processes[0].pid), "root") if self.processes else Path("/proc/0")
        return Daemon(
            component=one.component,
            role=ROLES[one.role],
            service=one.service,
            site=one.site,
            namespace=namespaces.of_process(self.processes[0].pid)
            if self.processes
            else layout.namespace(one.site),
            group="",
            home=home / HOME_PATH.lstrip("/"),
            argv=(),
            files={},
            address=self.address or one.endpoint.cluster_ip,
            port=FRONTEND_PORT if one.role == "haproxy" else one.endpoint.port,
            index=one.index,
        )


class Components:
    """All components of a lab on clusters.

    Args:
        topology: in lab size.
        layout: of the wide-area network.
        clusters: site -> its API server.
        overlapping: whether all clusters use the same ranges.
    """

    def __init__(
        self,
        topology: Topology,
        layout: Layout,
        clusters: Mapping[str, Cluster],
        *,
        overlapping: bool = False,
    ) -> None:
        self.topology = topology
        self.references = pods(topology, overlapping=overlapping)
        self._layout = layout
        self._clusters = clusters
        self._known: dict[str, Live] = {}

    def at(self, site: str, *, timeout: float = PATIENCE) -> list[Live]:
        """The components of ``site`` as they are now.

        Raises:
            LabError: its API server does not answer.
        """
        objects = self._clusters[site].pods(timeout=timeout)
        carriers = self._carriers(site, objects)
        running = processes_of({one for pod, _ in carriers.values() for one in pod.containers})
        found = []
        for one in self.references.values():
            if one.site != site:
                continue
            pod, address = carriers.get(one.component, (None, ""))
            own = [process for name in (pod.containers if pod else ()) for process in running.get(name, ())]
            found.append(Live(one, pod, address, tuple(own)))
        self._known |= {one.reference.component: one for one in found}
        return found

    def _carriers(self, site: str, objects: Sequence[Object]) -> dict[str, tuple[Pod, str]]:
        """Component -> its pod and that pod's address."""
        ordered = sorted(
            objects, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])
        )
        found: dict[str, tuple[Pod, str]] = {}
        taken: dict[str, int] = {}
        for one in ordered:
            pod = pod_of(one)
            if pod.deleting or one.get("status", {}).get("phase") in ("Failed", "Succeeded"):
                continue
            workload = pod.labels.get("app.kubernetes.io/name", "")
            address = str(one.get("status", {}).get("podIP", ""))
            for reference in self.references.values():
                if reference.site != site or reference.workload != workload:
                    continue
                number = taken.get(workload, 0)
                if reference.pod == pod.name or (reference.pod is None and reference.index == number):
                    found[reference.component] = (pod, address)
                    taken[workload] = number + 1
                    break
        return found

    def find(self, component: Component) -> Live:
        """One component as it is now.

        Raises:
            InjectionError: there is none of that name.
            LabError: the API server of its site does not answer.
        """
        for one in self.at(component.site, timeout=5.0) if component.site in self._clusters else ():
            if named(one.reference) == component and one.reference.role != "sentinel":
                return one
        raise InjectionError(f"there is no {component} in this lab")

    def status(self, site: str) -> list[ComponentStatus]:
        """True state of the components of ``site``; `unknown` while its API server does not answer."""
        try:
            found = self.at(site)
        except LabError as error:
            why = (
                f"the API server of {site} does not answer" if isinstance(error, Unreachable) else str(error)
            )
            return [
                ComponentStatus(one.component, "unknown", why)
                for one in self.references.values()
                if one.site == site
            ]
        return [self._status(one) for one in found]

    def _status(self, one: Live) -> ComponentStatus:
        name = one.reference.component
        if one.pod is None:
            return ComponentStatus(name, "down", "no pod")
        if not one.processes:
            return ComponentStatus(
                name, "down", one.pod.trouble or f"{one.pod.name} has no running container"
            )
        if any(processes.is_stopped(process) for process in one.processes):
            return ComponentStatus(name, "paused", f"{one.pod.name} is stopped")
        condition = self.condition(one)
        return ComponentStatus(name, condition.state, condition.detail)

    def condition(self, one: Live) -> Condition:
        """What the daemon says of itself."""
        return deployment.condition(self.topology, one.daemon(self._layout))

    def is_settled(self, one: Live) -> bool:
        """Whether a component is in the state that a fault-free system has, and its pod is ready."""
        if one.pod is None or not one.pod.ready or not one.processes:
            return False
        return deployment.is_settled(self.topology, one.daemon(self._layout))

    def databases(self) -> list[Daemon]:
        """The database servers, as they were last seen where the API server does not answer now."""
        found = []
        for site in self._clusters:
            with suppress(LabError):
                self.at(site, timeout=5.0)
            found += [
                self._known.get(one.component, Live(one))
                for one in self.references.values()
                if one.site == site and one.role == "db"
            ]
        return [one.daemon(self._layout) for one in found]


def named(reference: PodReference) -> Component:
    """A component by the name that faults use."""
    return Component(reference.service, reference.site, reference.index)


def processes_of(containers: Collection[str]) -> dict[str, list[Process]]:
    """Container id -> its live processes: their control groups carry the id. One look at all processes."""
    found: dict[str, list[Process]] = {}
    if not containers:
        return found
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
        except OSError:  # it has ended meanwhile
            continue
        owner = next((one for one in containers if one in groups), None)
        if owner is None:
            continue
        process = Process.of(int(entry.name))
        if process is not None and processes.is_alive(process):
            found.setdefault(owner, []).append(process)
    for group in found.values():
        group.sort(key=lambda one: one.pid)
    return found


__all__ = ["NAMESPACE", "Components", "Live", "named", "processes_of"]
