"""The lab on kind: one Kubernetes cluster per site, on this machine.

Users, probes, the DNS balancer and the wide-area network are those of the local lab; what stands at a site
is a cluster with the service in its pods. Nodes are containers whose names begin with the lab's
prefix, and everything else is found as in the local lab, so that `chaos.heal` removes all of it
whatever moment this process is killed at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from chaos import heal
from chaos.errors import LabError, MissingCapability
from chaos.faults.kubernetes.registry import CLUSTERS
from chaos.host import capabilities, processes
from chaos.kube import clusters as kind
from chaos.kube import docker, gateways, image, watch
from chaos.kube.addresses import Addresses
from chaos.kube.api import Cluster
from chaos.kube.components import Components
from chaos.kube.links import ClusterWan
from chaos.kube.machines import DockerMachines
from chaos.kube.settings import node_name
from chaos.kube.targets import ClusterTargets
from chaos.lab import kind_provenance
from chaos.lab.base import ComponentStatus, Endpoint
from chaos.lab.host import HostLab, Progress
from chaos.lab.kind_bringup import KindBringup, balancers
from chaos.lab.layout import HTTP_PORT, Layout
from chaos.lab.state import LabState, Running
from chaos.measure import consistency, pods
from chaos.services import deployment, iam
from experiments.observation import KUBERNETES
from topologies.model import Haproxy, IndigoIam, Topology

IN_PODS = frozenset(
    (
        "mariadbd",
        "mariadb-install-db",
        "rsync",
        "redis-server",
        "redis-sentinel",
        "haproxy",
        "nginx",
        "Galera provider",
        "WireGuard",
    )
)
"""What the local lab needs of this machine and this one has in its image."""


class KindLab(HostLab):
    """A lab of kind clusters: a `chaos.lab.base.Lab`."""

    backend = "kind"
    faults = CLUSTERS
    slowness = 2.5  # clusters that have just started their pods leave little of the machine

    def __init__(
        self, directory: Path | None = None, *, progress: Progress | None = None, seed: int = 0
    ) -> None:
        super().__init__(directory, progress=progress, seed=seed)
        self._components_found: Components | None = None
        self._clusters_found: dict[str, Cluster] = {}

    # ---------------------------------------------------------------- up and down

    def up(self, topology: Topology) -> None:
        """Make the clusters, start everything in them, and return when the service answers at every site.

        Raises:
            MissingCapability: this machine cannot run the lab; the message says what to install.
            LabBusy: another lab runs here.
            LabError: the topology does not fit, or something does not start (all of it is removed).
        """
        began = time.monotonic()
        ensure_fits(topology, self.directory)
        images = self._prepare_clusters(topology)
        try:
            self._file.begin(topology, self.backend)
            nodes = {
                name: tuple(node_name(name, index) for index in range(site.nodes))
                for name, site in topology.sites.items()
            }
            self._file.update(lambda state: replace(state, nodes=nodes))
            wan = self._cluster_wan()
            KindBringup(
                self._file,
                self._cgroups,
                wan,
                self._clusters(),
                self._components(),
                images.lab,
                self.progress,
            ).run(topology)
            found = kind_provenance.collect(
                self._file.require(), self._cgroups, wan.facts(), self._clusters(), images
            )
            self._file.update(lambda state: replace(state, complete=True, facts=found))
        except BaseException:
            with suppress(LabError):
                self.down(keep_logs=True)
            raise
        self.progress(f"lab is up after {time.monotonic() - began:.1f} s")

    def prepare(self, topology: Topology) -> None:
        """Make the clusters of ``topology`` and keep them for the labs to come, of the same shape.

        Raises: as `up`.
        """
        ensure_fits(topology, self.directory)
        images = self._prepare_clusters(topology)
        kind.Clusters(self.directory, self.progress).keep(_plan(topology, images.node))
        self._lock.release()
        self._holds = False

    def _prepare_clusters(self, topology: Topology) -> image.Images:
        require()
        images = image.ensure(self.progress)
        self._lock.acquire()
        self._holds = True
        try:
            for line in heal.heal(self.directory):
                self.progress(f"healed: {line}")
            heal.prepare_directory(self.directory)
            kind.Clusters(self.directory, self.progress).ensure(
                _plan(topology, images.node), kind.Tools(images.node, images.lab, images.kind)
            )
        except BaseException:
            with suppress(LabError):
                self.down(keep_logs=True)
            raise
        return images

    def down(self, *, keep_logs: bool = False) -> None:
        """Stop and remove everything of the lab, except clusters that are to be kept.

        Args:
            keep_logs: leave log files in the lab's directory.
        """
        super().down(keep_logs=keep_logs)
        self._components_found = None
        self._clusters_found = {}

    # ---------------------------------------------------------------- what is there

    def status(self) -> list[ComponentStatus]:
        """True state of every component; `unknown` where the cluster's API server does not answer."""
        state = self._attached()
        if state is None:
            return []
        components = self._components()
        with ThreadPoolExecutor(len(state.sites) + 1) as pool:
            outside = pool.submit(lambda: [self._outside(state, one) for one in state.daemons])
            found = [one for every in pool.map(components.status, state.sites) for one in every]
            return [*found, *outside.result()]

    def pod_times(self, targets: Mapping[str, str], rounds: int = 2) -> dict[str, list[float]]:
        """Seconds that the clusters take to make, start and end pods, see `chaos.measure.pods`."""
        self._required()
        return pods.pod_times(self._targets(), targets, rounds)

    @staticmethod
    def _outside(state: LabState, running: Running) -> ComponentStatus:
        """State of a daemon that runs outside the clusters."""
        if running.process is None or not processes.is_alive(running.process):
            return ComponentStatus(running.component, "down", "no process")
        condition = deployment.condition(state.topology, running.daemon())
        return ComponentStatus(running.component, condition.state, condition.detail)

    def endpoints(self) -> list[Endpoint]:
        """Front ends on the wide-area network, everything else inside the clusters' networks."""
        state = self._required()
        found = []
        for one in self._components().references.values():
            address, port = one.endpoint.address, one.endpoint.port
            if isinstance(state.topology.services[one.service], Haproxy):
                address, port = state.layout.public(one.site), HTTP_PORT
            found.append(Endpoint(one.component, address, port))
        return found + [Endpoint(one.component, one.address, one.port) for one in state.daemons]

    # ---------------------------------------------------------------- what the shared half asks for

    def _make_wan(self, topology: Topology) -> ClusterWan:
        return ClusterWan(
            topology,
            self.directory,
            self._cgroups,
            _addresses(topology),
            lambda site: docker.pid_of(node_name(site, 0)),
            self._seed,
        )

    def _targets(self) -> ClusterTargets:
        state = self._required()
        machines = DockerMachines(lambda site: state.nodes.get(site, ()), self._put_back)
        return ClusterTargets(state.topology, self._clusters(), machines, self._cluster_wan, owned=True)

    def _put_back(self, names: Sequence[str]) -> None:
        """Gateway nodes that were started again have to get back on the network.

        Raises:
            LabError: one does not.
        """
        for site, nodes in self._required().nodes.items():
            if nodes and nodes[0] in names:
                self._cluster_wan().reattach(site)

    def _look_up(self, state: LabState, samples: pd.DataFrame) -> consistency.Found:
        servers = [consistency.Server.on_this_machine(one) for one in self._components().databases()]
        return consistency.audit(state.topology, servers, samples)

    def _about(self) -> dict[str, Any]:
        return {"platform": KUBERNETES, "event_resolution": watch.RESOLUTION}

    def _cluster_wan(self) -> ClusterWan:
        wan = self._wan
        assert isinstance(wan, ClusterWan)
        return wan

    def _clusters(self) -> dict[str, Cluster]:
        if not self._clusters_found:
            self._clusters_found = {
                site: Cluster(site, kind.kubeconfig(self.directory, site)) for site in self._required().sites
            }
        return self._clusters_found

    def _components(self) -> Components:
        if self._components_found is None:
            state = self._required()
            self._components_found = Components(
                state.topology,
                state.layout,
                self._clusters(),
                overlapping=gateways.is_translated(state.topology),
            )
        return self._components_found


def require() -> None:
    """Check that this machine can run the lab.

    Raises:
        MissingCapability: it cannot; the message says what to install.
    """
    lacking = [one for one in capabilities.missing() if one.name not in IN_PODS]
    if lacking:
        lines = "\n".join(f"  {one}" for one in lacking)
        raise MissingCapability(
            f"this machine cannot run the lab on kind:\n{lines}\n  `make install` gets all packages"
        )
    docker.require()


def ensure_fits(topology: Topology, directory: Path) -> None:
    """Refuse what this lab cannot hold, before anything starts.

    Raises:
        LabError: the message says what to change.
    """
    gateways.ensure_carried(topology)
    for name, service in topology.services_of(IndigoIam).items():
        iam.ensure_buildable(name, service)
    _addresses(topology)
    balancers(topology, Layout(tuple(topology.sites), directory))


def _addresses(topology: Topology) -> Addresses:
    return Addresses.of(topology, overlapping=gateways.is_translated(topology))


def _plan(topology: Topology, node_image: str) -> kind.Plan:
    return kind.Plan.of(topology, _addresses(topology), node_image)


def open_lab() -> KindLab:
    """A lab on kind in the default directory: the entry point `kind` of `faultline.labs`."""
    return KindLab()
