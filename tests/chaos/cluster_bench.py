"""A cluster that no lab made, carrying idle workloads, with the view that faults have of it and a witness."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from existing_clusters import Existing

from chaos.errors import InjectionError
from chaos.faults.context import Network
from chaos.kube import watch
from chaos.kube.api import Cluster, condition
from chaos.kube.machines import DockerMachines
from chaos.kube.targets import ClusterTargets
from chaos.measure.recorder import read_events
from chaos.undo import UndoLog
from topologies.loader import load

TOPOLOGY = load("iris-2site-kubernetes", size="lab")


def workload(image: str, name: str, kind: str, replicas: int) -> dict[str, Any]:
    """A workload of web servers with the labels of the lab's."""
    labels = {"app.kubernetes.io/name": name, "faultline.io/role": name}
    server = ["python3", "-m", "http.server", "8080"]
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "command": server,
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        },
    }
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "faultline"},
        "spec": spec,
    }


def ready(cluster: Cluster, name: str) -> list[str]:
    """Uids of the ready pods of a workload."""
    found = cluster.pods(f"app.kubernetes.io/name={name}")
    return [
        str(one["metadata"]["uid"])
        for one in found
        if condition(one, "Ready") and "deletionTimestamp" not in one["metadata"]
    ]


def until(holds: Callable[[], object], patience: float) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


class Bench:
    """A cluster, the faults' view of it, an undo log, and a witness."""

    def __init__(self, existing: Existing, directory: Path) -> None:
        self.cluster = existing.cluster("ral")
        self.directory = directory
        self.nodes = existing.nodes["ral"]
        self.machines = DockerMachines(lambda site: self.nodes)

        def no_links() -> Network:
            raise InjectionError("no links here")

        self.targets = ClusterTargets(TOPOLOGY, {"ral": self.cluster}, self.machines, no_links)
        self.log = UndoLog(directory / "undo.jsonl")
        (directory / "kube").mkdir()
        self.kubeconfig = directory / "kube" / "ral.yaml"
        self.kubeconfig.symlink_to(existing.kubeconfig.parent / "ral.yaml")
        place = watch.Place.of(TOPOLOGY, "ral", self.kubeconfig, self.nodes)
        self.witness = watch.Witness(place, watch.Book(directory / "events.jsonl").write)

    def kinds(self) -> list[tuple[str, str]]:
        """What the witness has told."""
        return [(one.component, one.kind) for one in read_events(self.directory)]

    def awaits(self, component: str, kind: str, patience: float, since: float = 0.0) -> float:
        """UNIX time of the first such event."""

        def times() -> list[float]:
            found = read_events(self.directory)
            return [one.time for one in found if (one.component, one.kind) == (component, kind)]

        until(lambda: any(time > since for time in times()), patience)
        return next(time for time in times() if time > since)

    def settle(self) -> None:
        """All four pods are ready."""
        until(lambda: self.cluster.answers(2.0), 90.0)
        until(lambda: len(ready(self.cluster, "iam")) == 2 and len(ready(self.cluster, "db")) == 2, 90.0)
