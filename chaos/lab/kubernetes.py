"""A lab on clusters that somebody already has.

It works in one namespace of each, which the owner has released, with the rights that
`chaos.kube.existing.RIGHTS` lists, and leaves nodes alone unless told otherwise. The links between the
clusters are the owner's: the lab neither makes nor cuts them, so faults of the network are refused, and
the pods of different clusters must reach each other's Services by themselves.

Users and probes run on this machine's own network. They know all front ends and pick one for each
iteration, as with a DNS name that has an address for each: the topology's DNS balancer is not run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from chaos import heal
from chaos.errors import LabError
from chaos.faults.kubernetes.registry import CLUSTERS
from chaos.host import processes
from chaos.kube import existing, portforward, surroundings, watch
from chaos.kube.access import Access
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import NAMESPACE, Addresses
from chaos.kube.api import Cluster, Refused, condition
from chaos.kube.clusters import kubeconfig
from chaos.kube.context import Machines
from chaos.kube.machines import DockerMachines
from chaos.kube.manifests.database import OBSERVER_USER
from chaos.kube.manifests.pods import PodReference, pods
from chaos.kube.manifests.rendering import LAB_IMAGE, render
from chaos.kube.manifests.secrets import Secrets
from chaos.kube.manifests.stages import Stage, stages
from chaos.kube.refusal import Refusing, no_links
from chaos.kube.targets import ClusterTargets
from chaos.lab import generators
from chaos.lab.base import ComponentStatus, Endpoint
from chaos.lab.bringup import place_signing_key, start_recorder
from chaos.lab.host import HostLab, Progress
from chaos.lab.kind_bringup import replicas_of, trouble
from chaos.lab.state import LabState
from chaos.measure import consistency
from chaos.services import mariadb
from experiments.catalogue import EVENT_SOURCES
from experiments.observation import KUBERNETES
from experiments.workload import Workload
from topologies.model import Haproxy, Topology

PATIENCE = 300.0
"""Seconds for all pods to get ready."""

NO_IMAGE = ("ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName")
"""What Kubernetes says of a pod whose image is not to be had."""

NOTES = "kube/existing-lab.json"
"""In the lab's directory: front ends and what the audit needs; readable by its owner only."""

_LOOK = 1.0


class KubernetesLab(HostLab):
    """A lab on existing clusters: a `chaos.lab.base.Lab`.

    Args:
        access: which clusters, and how far the lab may go.
        directory, progress, seed: as `HostLab`.
    """

    backend = "kubernetes"
    faults = CLUSTERS
    has_relay = False
    slowness = 2.5  # clusters that have just started their pods leave little of the machine

    def __init__(
        self,
        access: Access,
        directory: Path | None = None,
        *,
        progress: Progress | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(directory, progress=progress, seed=seed)
        self._access = access
        self._clusters_found: dict[str, Cluster] = {}

    # ---------------------------------------------------------------- up and down

    def up(self, topology: Topology) -> None:
        """Put the workloads into the released namespaces and return when all pods are ready.

        Raises:
            LabBusy: another lab runs here.
            LabError: a cluster does not answer, has not released its namespace, lacks rights or
                something else, or pods do not get ready (all of it is removed).
        """
        began = time.monotonic()
        self._lock.acquire()
        self._holds = True
        try:
            for line in heal.heal(self.directory):
                self.progress(f"healed: {line}")
            heal.prepare_directory(self.directory)
            self._access.write_kubeconfigs(list(topology.sites), self.directory)
            self._file.begin(topology, self.backend)
            self._examine(topology)
            secrets = self._deploy(topology)
            self._remember(topology, secrets)
            start_recorder(self._file, self._cgroups)
            self._start_watch(topology)
            facts = {"clusters": {site: self._facts_of(site) for site in topology.sites}}
            self._file.update(lambda state: replace(state, complete=True, facts=facts))
        except heal.Unfinished:  # what an earlier lab has left in clusters stays on record
            self._lock.release()
            self._holds = False
            raise
        except BaseException:
            with suppress(LabError):
                self.down(keep_logs=True)
            raise
        self.progress(f"lab is up after {time.monotonic() - began:.1f} s")

    def down(self, *, keep_logs: bool = False) -> None:
        """Take everything of the lab out of the clusters and off this machine; safe to call twice."""
        super().down(keep_logs=keep_logs)
        self._clusters_found = {}

    def _examine(self, topology: Topology) -> None:
        for site in topology.sites:
            cluster = self._clusters()[site]
            version = cluster.version()
            existing.ensure_released(cluster)
            missing = existing.missing_rights(cluster, allow_nodes=self._access.allow_nodes)
            if missing:
                raise LabError(
                    f"{site}: the account of context {self._access.contexts[site]!r} lacks the rights to "
                    f"{', '.join(missing)}; `faultline plan --backend kubernetes` shows "
                    "a Role with all of them"
                )
            existing.ensure_free(cluster)
            self.progress(f"{site}: Kubernetes {version}, namespace {NAMESPACE} is released")

    def _deploy(self, topology: Topology) -> Secrets:
        key = place_signing_key(self._file.directory)
        secrets = Secrets.generate(key.read_text())
        rendered = render(
            topology,
            image=self._access.image or LAB_IMAGE,
            secrets=secrets,
            host_names=True,
            addresses=self._addresses(topology),
        )
        adapted = {
            site: existing.adapted(objects, self._access.node_port) for site, objects in rendered.items()
        }
        deadline = time.monotonic() + PATIENCE
        with ThreadPoolExecutor(max(2, len(rendered))) as pool:
            for stage in stages(adapted):
                began = time.monotonic()
                list(pool.map(lambda site, stage=stage: self._apply(site, stage), rendered))
                for site, workloads in stage.awaited.items():
                    for kind, name in workloads:
                        self._await(site, kind, name, deadline)
                if any(stage.awaited.values()):
                    self.progress(f"{stage.name} ready after {time.monotonic() - began:.1f} s")
        return secrets

    def _addresses(self, topology: Topology) -> Addresses:
        ranges = {
            site: (surroundings.pod_range(cluster), surroundings.service_range(cluster))
            for site, cluster in self._clusters().items()
        }
        return Addresses.of(topology).within(ranges)

    def _apply(self, site: str, stage: Stage) -> None:
        try:
            self._clusters()[site].apply_all(stage.objects.get(site, ()))
        except Refused as error:
            raise LabError(f"{site} does not take the workloads: {error}") from error

    def _await(self, site: str, kind: str, name: str, deadline: float) -> None:
        cluster = self._clusters()[site]
        while True:
            found = cluster.get("apps/v1", kind, name)
            if found is not None:
                wanted, ready = replicas_of(found)
                if ready >= wanted:
                    return
            why = trouble(cluster, name)
            if any(word in why for word in NO_IMAGE):
                raise LabError(
                    f"{site} has not got the image {self._access.image or LAB_IMAGE}: name one that it can "
                    f"pull with --image ({why})"
                )
            if time.monotonic() > deadline:
                raise LabError(f"{kind.lower()}/{name} of {site} is not ready after {PATIENCE:.0f} s: {why}")
            time.sleep(_LOOK)

    def _remember(self, topology: Topology, secrets: Secrets) -> None:
        front_ends = {}
        sites = {site for service in topology.services_of(Haproxy).values() for site in service.sites}
        for site in sorted(sites):
            own = self._access.front_ends.get(site)
            first = surroundings.nodes(self._clusters()[site])[0]
            front_ends[own or f"{first[1]}:{self._access.node_port}"] = site
        notes = {
            "front_ends": front_ends,
            "observer": secrets.observer_password,
            "allow_nodes": self._access.allow_nodes,
            "nodes": {
                site: [name for name, _ in surroundings.nodes(cluster)]
                for site, cluster in self._clusters().items()
            },
        }
        file = self.directory / NOTES
        file.touch(mode=0o600)
        file.write_text(json.dumps(notes))
        found = {site: tuple(names) for site, names in notes["nodes"].items()}  # type: ignore[attr-defined]
        self._file.update(lambda state: replace(state, nodes=found))

    def _notes(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.directory / NOTES).read_text())
        except (OSError, ValueError) as error:
            raise LabError(f"cannot read {self.directory / NOTES}: {error}") from error
        return found

    def _start_watch(self, topology: Topology) -> None:
        nodes = self._file.require().nodes
        watch.plan(self.directory, watch.places(topology, self.directory, lambda site: nodes[site]))
        self._cgroups.create("watch", weight=generators.WEIGHT)
        processes.start(
            [sys.executable, "-m", "chaos.kube.watch", "--no-logs", "--directory", str(self.directory)],
            group="watch",
            cgroups=self._cgroups,
            log=self.directory / "watch.log",
        )

    def _facts_of(self, site: str) -> dict[str, Any]:
        cluster = self._clusters()[site]
        return {
            "kubernetes": cluster.version(),
            "nodes": len(surroundings.nodes(cluster)),
            "image": self._access.image or LAB_IMAGE,
            "network_policies": ClusterActions(cluster).policy_enforcer() or "not known to be enforced",
        }

    # ---------------------------------------------------------------- what is there

    def status(self) -> list[ComponentStatus]:
        """State of every pod as its cluster sees it; `unknown` where the API server does not answer."""
        state = self._attached()
        if state is None:
            return []
        references = [one for one in pods(state.topology).values() if one.role != "sentinel"]
        found: list[ComponentStatus] = []
        for site in state.sites:
            here = [one for one in references if one.site == site]
            try:
                objects = self._clusters()[site].pods(timeout=2.0)
            except LabError as error:
                found += [ComponentStatus(one.component, "unknown", str(error)) for one in here]
            else:
                found += [self._status(one, objects) for one in here]
        return found

    @staticmethod
    def _status(one: PodReference, objects: Sequence[Mapping[str, Any]]) -> ComponentStatus:
        mine = sorted(
            (
                pod
                for pod in objects
                if (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == one.workload
                and "deletionTimestamp" not in pod["metadata"]
                and one.pod in (None, pod["metadata"]["name"])
            ),
            key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]),
        )
        if one.pod is None:
            mine = mine[one.index : one.index + 1]
        if not mine:
            return ComponentStatus(one.component, "down", "no pod")
        name = str(mine[0]["metadata"]["name"])
        if condition(dict(mine[0]), "Ready"):
            return ComponentStatus(one.component, "up", name)
        return ComponentStatus(one.component, "down", f"{name} is not ready")

    def endpoints(self) -> list[Endpoint]:
        """The front ends, as users on this machine reach them."""
        found = []
        for address, site in self._notes()["front_ends"].items():
            host, _, port = address.rpartition(":")
            found.append(Endpoint(f"frontend@{site}", host or address, int(port) if host else 80))
        return found

    # ---------------------------------------------------------------- what the shared half asks for

    def _generators(
        self, state: LabState, workload: Workload, seed: int, t0: float, directory: Path
    ) -> list[generators.Generator]:
        front_ends = self._notes()["front_ends"]
        found = super()._generators(state, workload, seed, t0, directory)
        return [
            replace(
                one,
                namespace="",
                plan=one.plan.model_copy(update={"resolver": "", "front_ends": front_ends}),
            )
            for one in found
        ]

    def _about(self) -> dict[str, Any]:
        return {
            "platform": KUBERNETES,
            "event_resolution": watch.RESOLUTION,
            "unseen_events": list(EVENT_SOURCES),  # told by logs on the nodes' disks, and by the DNS balancer
        }

    def _targets(self) -> ClusterTargets:
        state = self._required()
        nodes = state.nodes
        machines: Machines = Refusing()
        if self._notes()["allow_nodes"]:
            machines = DockerMachines(lambda site: nodes.get(site, ()))
        return ClusterTargets(state.topology, self._clusters(), machines, no_links)

    def _look_up(self, state: LabState, samples: pd.DataFrame) -> consistency.Found:
        """The audit, asked of each database server through the API servers."""
        references = [one for one in pods(state.topology).values() if one.role == "db"]
        servers = [
            consistency.Server(one.component, one.service, partial(self._open, one)) for one in references
        ]
        return consistency.audit(state.topology, servers, samples)

    def _open(self, server: PodReference, timeout: float) -> Any:
        """A connection to the database of ``server``."""
        assert server.pod is not None  # databases are stateful
        return portforward.database(
            self._clusters()[server.site],
            NAMESPACE,
            server.pod,
            server.endpoint.port,
            user=OBSERVER_USER,
            password=self._notes()["observer"],
            name=mariadb.DATABASE,
            timeout=timeout,
        )

    def _clusters(self) -> dict[str, Cluster]:
        if not self._clusters_found:
            self._clusters_found = {
                site: Cluster(site, kubeconfig(self.directory, site)) for site in self._required().sites
            }
        return self._clusters_found


def open_lab() -> KubernetesLab:
    """A lab on the clusters that the environment names: the entry point `kubernetes` of `faultline.labs`."""
    return KubernetesLab(Access.from_environment())
