"""One kind cluster per site: made in parallel where memory allows, kept on request, deleted by prefix.

Cluster names begin with the lab's prefix, so that a process that knows nothing else finds all of
them. Kubeconfigs lie in the lab's directory, never in the user's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos.errors import LabError
from chaos.host import processes
from chaos.host.commands import run
from chaos.host.namespaces import PREFIX
from chaos.host.processes import Process
from chaos.kube import docker, image
from chaos.kube.addresses import NAMESPACE as NAMESPACE
from chaos.kube.addresses import Addresses
from chaos.kube.docker import Container
from chaos.kube.housekeeping import DIRECTORY as DIRECTORY
from chaos.kube.settings import cluster_name, configuration, node_index, node_name
from topologies.model import Topology

NETWORK = "fl-kind"
"""Docker network of the nodes. It hides no address behind the machine's: who leaves it gets no answer."""

KEPT = Path("/run/faultline/clusters.json")
"""The shape of clusters that outlive a lab, and where their kubeconfigs are. One for the machine, as the
clusters' names are."""

PATIENCE = 240.0
"""Seconds for a cluster to be made; 35 s alone on an idle machine, more when several start at once."""

GIB = 2.0**30
MEMORY_CONTROL_PLANE = 0.9 * GIB
MEMORY_WORKER = 0.35 * GIB
MEMORY_WORKLOADS = 0.7 * GIB
"""What a control plane, a further node, and the service's pods of a site take in lab size (measured: 0.5,
0.15 and 0.3 GiB), with a margin."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tools:
    """What clusters are made of.

    Attributes:
        node: image of the nodes.
        lab: image of the lab's pods.
        kind: the program.
    """

    node: str
    lab: str
    kind: Path


@dataclass(frozen=True)
class Plan:
    """The clusters that a topology asks for.

    Attributes:
        configurations: site -> kind's configuration.
        node: image of the nodes.
        nodes: site -> number of nodes.
    """

    configurations: Mapping[str, str]
    node: str
    nodes: Mapping[str, int]

    @classmethod
    def of(cls, topology: Topology, addresses: Addresses, node: str) -> Plan:
        """The clusters of ``topology``, of nodes of image ``node``."""
        return cls(
            {site: configuration(topology, site, addresses) for site in topology.sites},
            node,
            {name: site.nodes for name, site in topology.sites.items()},
        )

    @property
    def shape(self) -> str:
        """A digest of all that is fixed when clusters are made: equal shapes can stand in for each other."""
        text = json.dumps([self.node, dict(self.configurations)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def memory(self) -> float:
        """Bytes that the clusters and their pods will take, with a margin."""
        return sum(
            MEMORY_CONTROL_PLANE + MEMORY_WORKLOADS + (count - 1) * MEMORY_WORKER
            for count in self.nodes.values()
        )


@dataclass(frozen=True)
class Kept:
    """Clusters that stay when their lab goes.

    Attributes:
        shape: as `Plan.shape`.
        directory: where their kubeconfigs are.
        sites: that they are of.
    """

    shape: str
    directory: str
    sites: tuple[str, ...]

    @classmethod
    def read(cls) -> Kept | None:
        """What is kept on this machine; None when nothing is."""
        try:
            data = json.loads(KEPT.read_text())
            return cls(data["shape"], data["directory"], tuple(data["sites"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Clusters:
    """The clusters of one lab directory.

    Args:
        directory: of the lab.
        progress: told in words what happens.
    """

    def __init__(self, directory: Path, progress: Progress) -> None:
        self.directory = directory / DIRECTORY
        self._progress = progress

    def kubeconfig(self, site: str) -> Path:
        """The kubeconfig of a site's cluster."""
        return kubeconfig(self.directory.parent, site)

    def ensure(self, plan: Plan, tools: Tools) -> None:
        """Make the clusters of ``plan``, or take over those that are there when they have its shape.

        All nodes are ready and have the lab's image when this returns.

        Raises:
            MissingCapability: no Docker engine answers.
            LabError: there is not enough memory, or a cluster does not come up.
        """
        docker.require()
        if self._can_stand_in(plan):
            self._progress(f"{len(plan.nodes)} kept clusters have the right shape")
        else:
            delete_all()
            ensure_memory(plan)
            self.directory.mkdir(parents=True, exist_ok=True)
            ensure_network()
            self._create(plan, tools)
        self._load(plan, tools)

    def keep(self, plan: Plan) -> None:
        """Let the clusters outlive this lab: later ones of the same shape take them over."""
        kept = Kept(plan.shape, str(self.directory), tuple(plan.nodes))
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(asdict(kept)))

    def _can_stand_in(self, plan: Plan) -> bool:
        kept = Kept.read()
        if kept is None or kept.shape != plan.shape:
            return False
        found = docker.nodes(PREFIX)
        wanted = {node_name(site, index) for site, count in plan.nodes.items() for index in range(count)}
        if {one.name for one in found} != wanted or any(one.state != "running" for one in found):
            return False
        self.directory.mkdir(parents=True, exist_ok=True)
        for site in plan.nodes:
            there = Path(kept.directory) / f"{site}.yaml"
            if there != self.kubeconfig(site):
                with suppress(OSError):
                    shutil.copyfile(there, self.kubeconfig(site))
                    self.kubeconfig(site).chmod(0o600)
        return all(self.kubeconfig(site).exists() and self._is_ready(site) for site in plan.nodes)

    def _is_ready(self, site: str) -> bool:
        from chaos.kube.api import Cluster

        return Cluster(site, self.kubeconfig(site)).nodes_ready(1.0)

    def _create(self, plan: Plan, tools: Tools) -> None:
        began = time.monotonic()
        at_once = max(1, min(len(plan.nodes), int(available_memory() // (2 * MEMORY_CONTROL_PLANE))))
        self._progress(f"making {len(plan.nodes)} clusters, {at_once} at once")
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda site: self._create_one(site, plan, tools), plan.nodes))
        self._progress(f"{len(plan.nodes)} clusters are ready after {time.monotonic() - began:.0f} s")

    def _create_one(self, site: str, plan: Plan, tools: Tools) -> None:
        written = self.directory / f"{site}.kind.yaml"
        written.write_text(plan.configurations[site])
        done = run(
            [
                str(tools.kind), "create", "cluster", "--name", cluster_name(site), "--config", str(written),
                "--image", plan.node, "--kubeconfig", str(self.kubeconfig(site)),
                "--wait", f"{PATIENCE:.0f}s",
            ],
            timeout=2 * PATIENCE,
            check=False,
            env={
                **{name: value for name, value in os.environ.items() if name != "KUBECONFIG"},
                "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK,
            },
        )  # fmt: skip
        log = self.directory / f"{site}.kind.log"
        log.write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise LabError(
                f"the cluster of {site} was not made: {(said or ['no reason given'])[-1]} (log: {log})"
            )
        self.kubeconfig(site).chmod(0o600)
        self._await_nodes(site, time.monotonic() + PATIENCE)

    def _await_nodes(self, site: str, deadline: float) -> None:
        # kind waits for the control plane only.
        from chaos.kube.api import Cluster

        while not Cluster(site, self.kubeconfig(site)).nodes_ready(5.0):
            if time.monotonic() > deadline:
                raise LabError(f"not all nodes of {cluster_name(site)} get ready: see {self.directory}")
            time.sleep(0.5)

    def _load(self, plan: Plan, tools: Tools) -> None:
        wanting = [one for one in docker.nodes(PREFIX) if not _has_image(one, tools.lab)]
        if not wanting:
            return
        began = time.monotonic()
        self._progress(f"loading {tools.lab} into {len(wanting)} nodes")
        image.load(tools.lab, [one.name for one in wanting])
        self._progress(f"image loaded after {time.monotonic() - began:.0f} s")


def _has_image(node: Container, image: str) -> bool:
    said = docker.inside(node.name, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet", check=False)
    return any(line.endswith((f"/{image}", image)) for line in said.stdout.split())


def kubeconfig(directory: Path, site: str) -> Path:
    """The kubeconfig of a site's cluster in the lab's ``directory``."""
    return directory / DIRECTORY / f"{site}.yaml"


def nodes_of(site: str) -> list[Container]:
    """The nodes of a site's cluster, the control plane first."""
    found = [one for one in docker.nodes(PREFIX) if one.cluster == cluster_name(site)]
    return sorted(found, key=lambda one: node_index(one.name))


def names() -> list[str]:
    """The lab's clusters on this machine, half-made ones included."""
    return sorted({one.cluster for one in docker.nodes(PREFIX)})


def delete_all() -> list[str]:
    """Delete all clusters of the lab and their network, by prefix alone. Returns what was done."""
    KEPT.unlink(missing_ok=True)
    deleted: set[str] = set()
    while True:
        creating = _end_creators()
        found = docker.nodes(PREFIX)
        if found:
            docker.docker("rm", "--force", "--volumes", *(one.name for one in found), timeout=180.0)
            deleted |= {one.cluster for one in found}
        if not creating:
            break
        time.sleep(0.5)  # the engine may be at work on what they have asked for last
    done = [f"deleted cluster {name}" for name in sorted(deleted)]
    if docker.docker("network", "inspect", NETWORK, check=False).returncode == 0:
        removed = docker.docker("network", "rm", NETWORK, check=False)
        if removed.returncode != 0:
            raise LabError(f"cannot remove the Docker network {NETWORK}: {removed.stderr.strip()}")
        done.append(f"removed network {NETWORK}")
    return done


def _end_creators() -> bool:
    """End commands that make nodes, and tell whether there were any.

    kind dies with its lab, the commands that it has started do not: one could make a node after all
    nodes have been deleted.
    """
    label = f"{docker.CLUSTER_LABEL}={PREFIX}".encode()
    ended = False
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if not any(one.startswith(label) for one in arguments):
            continue
        process = Process.of(int(entry.name))
        if process is not None and processes.send(process, signal.SIGKILL):
            ended = True
    return ended


def ensure_network() -> None:
    """Make the Docker network of the nodes, unless it is there."""
    if docker.docker("network", "inspect", NETWORK, check=False).returncode == 0:
        return
    docker.docker(
        "network", "create", "--driver", "bridge",
        "--opt", f"com.docker.network.bridge.name=br-{NETWORK}",
        "--opt", "com.docker.network.bridge.enable_ip_masquerade=false",
        "--label", "app.kubernetes.io/part-of=faultline", NETWORK,
    )  # fmt: skip


def ensure_memory(plan: Plan) -> None:
    """Refuse clusters that this machine has not enough memory for.

    Raises:
        LabError: with what they need and what there is.
    """
    free = available_memory()
    if free < plan.memory:
        raise LabError(
            f"{len(plan.nodes)} clusters with {sum(plan.nodes.values())} nodes need about "
            f"{plan.memory / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are available: "
            "free some, or use a topology with fewer sites or nodes (`nodes:` in its `lab:` overlay)"
        )


def available_memory(text: str | None = None) -> float:
    """Bytes that can be used without swapping (MemAvailable of /proc/meminfo)."""
    for line in (Path("/proc/meminfo").read_text() if text is None else text).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024.0
    raise LabError("/proc/meminfo does not say how much memory is available")


def sites_of(containers: Sequence[Container]) -> list[str]:
    """Sites that have a cluster."""
    return sorted({one.cluster.removeprefix(PREFIX) for one in containers})
