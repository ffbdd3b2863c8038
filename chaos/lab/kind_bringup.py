"""Bringing a lab of clusters up: nodes, network, pods, in the order in which they need each other."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from chaos.errors import LabError
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.kube import gateways, watch
from chaos.kube.addresses import Addresses
from chaos.kube.api import Cluster, Refused, condition
from chaos.kube.components import Components
from chaos.kube.links import ClusterWan
from chaos.kube.manifests import names
from chaos.kube.manifests.rendering import render
from chaos.kube.manifests.secrets import Secrets
from chaos.kube.manifests.stages import Stage, stages
from chaos.lab import generators
from chaos.lab.bringup import Progress, last_words, place_signing_key, start_daemons, start_recorder
from chaos.lab.layout import Layout
from chaos.lab.state import StateFile
from chaos.services import deployment, gdnsd
from chaos.services.daemon import Daemon
from topologies.model import DnsBalancer, Haproxy, Topology

PATIENCE = 240.0
"""Seconds for the pods of a lab to come up before it is given up; 60 to 120 s on two cores."""

SYSTEM = "kube-system"
_LOOK = 0.5


class KindBringup:
    """One attempt to bring the service up on clusters that are ready.

    Args:
        file: where the state goes, after each stage.
        cgroups: of the lab.
        wan: its network, not up yet.
        clusters: site -> API server.
        components: of the lab.
        image: of the lab's pods.
        progress: told in words what happens.
    """

    def __init__(
        self,
        file: StateFile,
        cgroups: Cgroups,
        wan: ClusterWan,
        clusters: Mapping[str, Cluster],
        components: Components,
        image: str,
        progress: Progress,
    ) -> None:
        self._file = file
        self._cgroups = cgroups
        self._wan = wan
        self._clusters = clusters
        self._components = components
        self._image = image
        self._progress = progress
        self._pool = ThreadPoolExecutor(8)
        self._deadline = 0.0

    def run(self, topology: Topology) -> None:
        """Start everything; return when the service answers at every site.

        Raises:
            LabError: something does not start; what was started stays for the caller to remove.
        """
        with self._pool:
            overlapping = gateways.is_translated(topology)
            addresses = Addresses.of(topology, overlapping=overlapping)
            key = place_signing_key(self._file.directory)
            self._wan.up()
            self._progress("wide-area network is up")
            kept, private = self._wan.gateways()
            linked = {
                site: gateways.objects(
                    kept[site], private[site], self._image, topology.kubernetes, topology.sites[site].nodes
                )
                for site in (topology.sites if len(topology.sites) > 1 else ())
            }
            rendered = render(
                topology,
                image=self._image,
                secrets=Secrets.generate(key.read_text()),
                overlapping=overlapping,
                extra=linked,
            )
            start_recorder(self._file, self._cgroups)
            self._start_watch(topology)
            self._at_all_sites(lambda site: self._tell_names(site, addresses))
            self._deadline = time.monotonic() + PATIENCE
            for stage in stages(rendered):
                self._apply(stage)
            self._settle()
            self._start_balancers(topology)

    # ---------------------------------------------------------------- pods

    def _apply(self, stage: Stage) -> None:
        began = time.monotonic()
        self._at_all_sites(lambda site: self._clusters[site].apply_all(stage.objects.get(site, ())))
        for site, workloads in stage.awaited.items():
            for kind, name in workloads:
                self._await_workload(site, kind, name)
        if stage.name == "network":
            self._wan.await_gateways(max(1.0, self._deadline - time.monotonic()))
        if any(stage.awaited.values()):
            self._progress(f"{stage.name} ready after {time.monotonic() - began:.1f} s")

    def _await_workload(self, site: str, kind: str, name: str) -> None:
        cluster = self._clusters[site]

        def is_ready() -> bool:
            found = cluster.get("apps/v1", kind, name)
            if found is None:
                return False
            wanted, ready = replicas_of(found)
            return ready >= wanted

        while not is_ready():
            if time.monotonic() > self._deadline:
                raise LabError(
                    f"{kind.lower()}/{name} of {site} does not get ready within {PATIENCE:.0f} s: "
                    f"{trouble(cluster, name)}"
                )
            time.sleep(_LOOK)

    def _settle(self) -> None:
        """Wait until all components are in their fault-free state."""
        began = time.monotonic()
        while True:
            found = [
                one
                for every in self._pool.map(
                    lambda site: self._components.at(site, timeout=10.0), self._clusters
                )
                for one in every
            ]
            settled = self._pool.map(self._components.is_settled, found)
            waiting = [one for one, done in zip(found, settled, strict=True) if not done]
            if not waiting:
                break
            if time.monotonic() > self._deadline:
                one = waiting[0]
                said = self._components.condition(one).detail if one.processes else "it does not run"
                raise LabError(f"{one.reference.component} does not settle within {PATIENCE:.0f} s ({said})")
            time.sleep(_LOOK)
        self._progress(f"service settled after {time.monotonic() - began:.1f} s")

    def _tell_names(self, site: str, addresses: Addresses) -> None:
        """Let the cluster's DNS answer for the names of all sites."""
        cluster = self._clusters[site]
        found = cluster.get("v1", "ConfigMap", "coredns", SYSTEM)
        if found is None:
            raise LabError(f"the cluster of {site} has no ConfigMap coredns in {SYSTEM}")
        text = str(found["data"]["Corefile"])
        wanted = names.corefile(text, addresses)
        if wanted == text:
            return
        cluster.patch("v1", "ConfigMap", "coredns", {"data": {"Corefile": wanted}}, SYSTEM)
        # It looks at its file only every 30 s or so (plugin reload), and the pods see it a minute late.
        marked = {"metadata": {"annotations": {"faultline.io/names": str(time.time())}}}
        cluster.patch("apps/v1", "Deployment", "coredns", {"spec": {"template": marked}}, SYSTEM)

    def _at_all_sites(self, act: Callable[[str], None]) -> None:
        list(self._pool.map(act, self._clusters))

    # ---------------------------------------------------------------- processes of this machine

    def _start_watch(self, topology: Topology) -> None:
        nodes = self._file.require().nodes
        directory = self._file.directory
        watch.plan(directory, watch.places(topology, directory, lambda site: nodes[site]))
        self._cgroups.create("watch", weight=generators.WEIGHT)
        processes.start(
            [sys.executable, "-m", "chaos.kube.watch", "--directory", str(directory)],
            group="watch",
            cgroups=self._cgroups,
            log=directory / "watch.log",
        )

    def _start_balancers(self, topology: Topology) -> None:
        daemons = balancers(topology, self._wan.layout)
        start_daemons(self._file, self._cgroups, daemons, self._pool)
        began = time.monotonic()
        started = {one.component: one.process for one in self._file.require().daemons}
        while not all(deployment.is_settled(topology, one) for one in daemons):
            for one in daemons:
                process = started[one.component]
                if process is None or not processes.is_alive(process):
                    raise LabError(f"{one.component} ended at its start: {last_words(one.log)}")
            if time.monotonic() > self._deadline:
                raise LabError(f"the DNS balancer does not find all front ends up: see {daemons[0].log}")
            time.sleep(_LOOK)
        self._progress(f"DNS balancer settled after {time.monotonic() - began:.1f} s")


def balancers(topology: Topology, layout: Layout) -> list[Daemon]:
    """The DNS balancer, which stands outside the clusters.

    Raises:
        LabError: there is none, or several.
    """
    found = topology.services_of(DnsBalancer)
    if len(found) != 1:
        raise LabError(
            "the lab needs exactly one service of kind dns-balancer, by which users find the front ends"
        )
    ((name, model),) = found.items()
    targets = topology.services[model.targets]
    assert isinstance(targets, Haproxy)
    return gdnsd.daemons(name, model, targets, layout)


def replicas_of(workload: Mapping[str, object]) -> tuple[int, int]:
    """How many pods a workload is to have, and how many are ready."""
    status = workload.get("status") or {}
    spec = workload["spec"]
    assert isinstance(status, dict)
    assert isinstance(spec, dict)
    if workload["kind"] == "DaemonSet":
        if status.get("observedGeneration", 0) == 0:
            return 1, 0
        return int(status.get("desiredNumberScheduled", 1)), int(status.get("numberReady", 0))
    return int(spec.get("replicas", 1)), int(status.get("readyReplicas", 0))


def trouble(cluster: Cluster, workload: str) -> str:
    """Why the pods of a workload are not ready, in Kubernetes' own words."""
    try:
        found = cluster.pods(f"app.kubernetes.io/name={workload}")
    except LabError as error:
        return str(error)
    if not found:
        return "it has no pods"
    reasons: Sequence[str] = [
        f"{one['metadata']['name']}: {reason}" for one in found if (reason := _reason(cluster, one))
    ]
    return "; ".join(reasons) or "no reason given"


def _reason(cluster: Cluster, pod: Mapping[str, object]) -> str:
    data = dict(pod)
    if condition(data, "Ready"):
        return ""
    status = data.get("status") or {}
    metadata = data["metadata"]
    assert isinstance(status, dict)
    assert isinstance(metadata, dict)
    for one in status.get("containerStatuses") or []:
        waiting = (one.get("state") or {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip()
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] != "True":
            return str(one.get("message", "not scheduled"))
    try:
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
        said = str(cluster.request("GET", path, query={"tailLines": "3"})).strip().splitlines()
    except Refused as error:
        return str(error)
    return said[-1][:200] if said else "it says nothing"
