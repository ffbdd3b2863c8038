"""The witness of a lab of clusters: a process of its own that writes down what happens in each of them.

    python -m chaos.kube.watch --directory LAB

It outlives the command that brought the lab up. `plan` says what to watch (`kube/watch.json` in the
lab's directory); events go to the lab's `events.jsonl`, one line each. Per cluster, threads follow pods,
EndpointSlices, nodes, leases and warnings by the API server's watches, one asks every second whether the
API server answers, and the logs of pods are read on the nodes' own disks.

While an API server is away nothing is known of what it would have told: `api.unreachable` and
`api.reachable` stand around that time, and what has changed meanwhile is told afterwards, at the time at
which it was seen.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException

from chaos.errors import LabError
from chaos.kube import docker
from chaos.kube.addresses import GATEWAY, NAMESPACE
from chaos.kube.api import Cluster, Object, Refused, path_of
from chaos.kube.clusters import DIRECTORY, kubeconfig
from chaos.kube.manifests.pods import PodReference, pods
from chaos.kube.podlogs import PERIOD, PodLogs
from chaos.kube.trackers import (
    EndpointTracker,
    LeaseTracker,
    Name,
    NodeTracker,
    PodTracker,
    Tracker,
    WarningTracker,
)
from chaos.measure.collectors import Seen
from chaos.measure.recorder import EVENTS_FILE
from topologies.kubernetes import Role
from topologies.model import Topology

PLAN_FILE = "watch.json"

RESOLUTION = 0.25
"""Seconds from a request that changes something to the line that tells of it: the request itself, the
API server's work and the watch, on a machine that is busy with the clusters. The error bar of events."""

ASK = 0.5
"""Seconds between two questions whether an API server answers: the error bar of its outages."""

PATIENCE = 1.0
"""Seconds that it may take for the answer."""

QUIET = 20.0
"""Seconds without a word after which a watch is opened anew: a frozen server closes no connection."""

_BACKOFF = (0.2, 0.5, 1.0, 2.0)
_GONE = 410
"""HTTP status: the server has forgotten where a watch was; everything must be listed again."""


@dataclass(frozen=True)
class Place:
    """One cluster that is watched.

    Attributes:
        site: its name.
        kubeconfig: how to reach it.
        nodes: names of its nodes, by number.
        services: Kubernetes Service -> component.
        pods: name, or the beginning of the name, of a pod -> (role, component).
        namespace: of the workloads.
    """

    site: str
    kubeconfig: str
    nodes: tuple[str, ...]
    services: Mapping[str, str]
    pods: Mapping[str, tuple[str, str]]
    namespace: str = NAMESPACE

    @classmethod
    def of(cls, topology: Topology, site: str, kubeconfig: Path, nodes: Sequence[str]) -> Place:
        """What to watch in the cluster of ``site``."""
        here = [one for one in pods(topology).values() if one.site == site]
        found: dict[str, tuple[str, str]] = {GATEWAY: ("gateway", f"{GATEWAY}@{site}")}
        services = {}
        for one in here:
            found[one.pod or one.workload] = (one.role, _component(one))
            services[one.workload] = f"{one.workload}@{site}"
        return cls(site, str(kubeconfig), tuple(nodes), services, found)

    def role_of(self, pod: str) -> tuple[str, str] | None:
        """Role and component of the pod of that name; None when it is none of the lab's."""
        if pod in self.pods:
            return self.pods[pod]
        # Deployment: <name>-<hash of the template>-<five letters>.
        return self.pods.get(pod.rsplit("-", 2)[0]) if pod.count("-") >= 2 else None

    def node_of(self, name: str) -> str | None:
        """`site/index` of the node that Kubernetes knows by ``name``."""
        return f"{self.site}/{self.nodes.index(name)}" if name in self.nodes else None


def _component(one: PodReference) -> str:
    # Pods of a Deployment have no numbers: with several, only the whole can be named.
    return one.component if one.pod else f"{one.workload}@{one.site}"


def plan(directory: Path, places: Iterable[Place]) -> Path:
    """Write down what is to be watched; returns the file."""
    file = directory / DIRECTORY / PLAN_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(one) for one in places]))
    return file


def read_plan(directory: Path) -> list[Place]:
    """What `plan` wrote.

    Raises:
        LabError: there is no such file, or it cannot be read.
    """
    file = directory / DIRECTORY / PLAN_FILE
    try:
        return [
            Place(
                one["site"],
                one["kubeconfig"],
                tuple(one["nodes"]),
                one["services"],
                {name: (role, component) for name, (role, component) in one["pods"].items()},
                one["namespace"],
            )
            for one in json.loads(file.read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"cannot read what to watch from {file}: {error}") from error


def places(topology: Topology, directory: Path, nodes: Callable[[str], Sequence[str]]) -> list[Place]:
    """All clusters of a lab: ``nodes`` gives the names of a site's nodes."""
    return [Place.of(topology, site, kubeconfig(directory, site), nodes(site)) for site in topology.sites]


class Witness:
    """Watches one cluster with a few threads.

    Args:
        place: the cluster.
        write: told of every event; called by several threads.
        logs: whether the nodes are containers of this machine, whose disks can be read.
    """

    def __init__(self, place: Place, write: Callable[[Seen], None], *, logs: bool = True) -> None:
        self._place = place
        self._write = write
        self._stop = threading.Event()
        self._reachable = threading.Event()
        self._returned = 0  # how often the API server has come back
        self._reads_logs = logs
        self._threads: list[threading.Thread] = []
        name = _names(place)
        self._leases = LeaseTracker(name["Lease"])
        self._streams: list[tuple[str, str, str, Tracker]] = [
            ("v1", "Pod", place.namespace, PodTracker(name["Pod"])),
            ("discovery.k8s.io/v1", "EndpointSlice", place.namespace, EndpointTracker(name["EndpointSlice"])),
            ("v1", "Node", "", NodeTracker(name["Node"])),
            ("v1", "Event", place.namespace, WarningTracker(name["Event"])),
        ]
        if logs:  # they are in a namespace that only the cluster's owner may look into
            self._streams.append(("coordination.k8s.io/v1", "Lease", "kube-node-lease", self._leases))

    def start(self) -> None:
        """Begin to watch."""
        self._run(self._ask)
        for version, kind, namespace, tracker in self._streams:
            self._run(self._follow, version, kind, namespace, tracker)
        if self._reads_logs:
            self._run(self._read_logs)

    def stop(self) -> None:
        """Write nothing more; threads that wait for an answer are left to end by themselves."""
        self._stop.set()
        self._reachable.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"{self._place.site}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # ---------------------------------------------------------------- the API server itself

    def _ask(self) -> None:
        """Ask again and again whether the API server answers, and tell when that changes."""
        cluster = self._cluster()
        answered: bool | None = None
        silent_since: float | None = None
        while not self._stop.is_set():
            began = time.time()
            answers = cluster.answers(PATIENCE)
            if answers:
                silent_since = None
                if not answered:
                    self._leases.pardon(time.time())
                    self._returned += 1
                    self._reachable.set()
                    if answered is not None:
                        self._write(Seen(time.time(), f"api@{self._place.site}", "api.reachable"))
                    answered = True
                self._tell(self._leases.look(time.time()))
            elif silent_since is None:
                silent_since = began  # once is no proof on a busy machine
            elif answered is not False:
                answered = False
                self._reachable.clear()
                self._write(Seen(silent_since, f"api@{self._place.site}", "api.unreachable"))
            self._stop.wait(max(0.05, ASK - (time.time() - began)))

    # ---------------------------------------------------------------- objects

    def _follow(self, version: str, kind: str, namespace: str, tracker: Tracker) -> None:
        """List everything, then follow the changes; again whenever that ends."""
        cluster = self._cluster()
        path = path_of(version, kind, namespace or None)
        failures = 0
        position = ""
        while not self._stop.is_set():
            self._reachable.wait()
            if self._stop.is_set():
                return
            returned = self._returned
            try:
                if not position:
                    answer = cluster.request("GET", path, timeout=5.0)
                    self._tell(tracker.renew(answer["items"], time.time()))
                    position = str(answer["metadata"]["resourceVersion"])
                for change in _changes(cluster, path, position):
                    if change["type"] == "ERROR":
                        position = ""
                        break
                    found = change["object"]
                    position = str(found["metadata"]["resourceVersion"])
                    if change["type"] != "BOOKMARK":
                        gone = change["type"] == "DELETED"
                        self._tell(tracker.feed(found, time.time(), gone=gone))
                    if self._stop.is_set() or self._returned != returned:
                        break
                failures = 0
            except Refused as error:
                position = ""
                if error.status == 403 and not failures:
                    what = f"the right to watch {kind} is missing"
                    self._write(Seen(time.time(), f"api@{self._place.site}", "kubernetes.event", what))
                failures = self._back_off(failures)
            except urllib3.exceptions.ReadTimeoutError:
                continue  # nothing happened, or nobody is there any more: the next request shows
            except (LabError, ApiException, urllib3.exceptions.HTTPError, OSError, ValueError, KeyError):
                position = ""  # what happened meanwhile is found by comparing
                failures = self._back_off(failures)

    def _back_off(self, failures: int) -> int:
        self._stop.wait(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
        return failures + 1

    # ---------------------------------------------------------------- logs

    def _read_logs(self) -> None:
        """Follow the logs of the pods on every node."""
        followed: dict[str, PodLogs] = {}
        next_search = 0.0
        while not self._stop.is_set():
            for one in followed.values():
                self._tell(one.look())
            if time.monotonic() >= next_search:
                next_search = time.monotonic() + 1.0
                self._find_logs(followed)
            self._stop.wait(PERIOD)
        for one in followed.values():
            one.close()

    def _find_logs(self, followed: dict[str, PodLogs]) -> None:
        missing = [node for node in self._place.nodes if node not in followed]
        if missing:
            with suppress(LabError):
                for container in docker.inspect(missing):
                    disk = container.volumes.get("/var")
                    if disk is not None:
                        role: Callable[[str], tuple[Role, str] | None] = self._place.role_of  # type: ignore[assignment]
                        followed[container.name] = PodLogs(disk / "log" / "pods", self._place.namespace, role)
        for one in followed.values():
            one.find()

    # ---------------------------------------------------------------- how

    def _cluster(self) -> Cluster:
        # One for each thread: the client is not made for several.
        return Cluster(self._place.site, Path(self._place.kubeconfig))

    def _tell(self, events: Iterator[Seen]) -> None:
        for event in events:
            if not self._stop.is_set():
                self._write(event)


def _names(place: Place) -> Mapping[str, Name]:
    """By kind of object: which component it belongs to."""

    def of_pod(found: Object) -> str | None:
        role = place.role_of(str(found["metadata"]["name"]))
        return None if role is None else role[1]

    def of_slice(found: Object) -> str | None:
        labels = found["metadata"].get("labels") or {}
        return place.services.get(str(labels.get("kubernetes.io/service-name", "")))

    def of_node(found: Object) -> str | None:
        return place.node_of(str(found["metadata"]["name"]))

    def of_event(found: Object) -> str | None:
        about = found.get("involvedObject") or {}
        if about.get("kind") == "Node":
            return place.node_of(str(about.get("name", "")))
        role = place.role_of(str(about.get("name", ""))) if about.get("kind") == "Pod" else None
        return f"cluster@{place.site}" if role is None else role[1]

    return {"Pod": of_pod, "EndpointSlice": of_slice, "Node": of_node, "Lease": of_node, "Event": of_event}


def _changes(cluster: Cluster, path: str, position: str) -> Iterator[Mapping[str, Any]]:
    """The changes since ``position``, as they come; ends when the server closes the watch.

    Raises:
        Refused: the server does not want to, or has forgotten the position.
        urllib3.exceptions.ReadTimeoutError: it has said nothing for `QUIET` seconds.
    """
    sent = cluster.client.param_serialize(
        "GET",
        path,
        query_params=[("watch", "true"), ("resourceVersion", position), ("allowWatchBookmarks", "true")],
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
    )
    answer = cluster.client.call_api(*sent, _request_timeout=(PATIENCE, QUIET))
    response: urllib3.HTTPResponse = answer.response
    try:
        if response.status >= 400:
            raise Refused(f"{cluster.site}: watch ended with {response.status}", response.status)
        rest = b""
        for chunk in response.stream(amt=None, decode_content=False):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    finally:
        response.close()


class Book:
    """The lab's file of events; lines of several writers do not mix."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, event: Seen) -> None:
        """Append one event."""
        os.write(self._descriptor, (json.dumps(asdict(event)) + "\n").encode())


def main() -> None:
    """Watch until SIGTERM."""
    parser = argparse.ArgumentParser(description="Write down what happens in the clusters of a lab.")
    parser.add_argument("--directory", required=True, type=Path, help="the lab's directory")
    parser.add_argument("--no-logs", action="store_true", help="the nodes are not containers of this machine")
    arguments = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: over.set())
    book = Book(arguments.directory / EVENTS_FILE)
    witnesses = [
        Witness(place, book.write, logs=not arguments.no_logs) for place in read_plan(arguments.directory)
    ]
    for witness in witnesses:
        witness.start()
    over.wait()
    for witness in witnesses:
        witness.stop()


if __name__ == "__main__":
    main()
