"""Kind clusters that no lab made, as somebody else's would be: own names, own network, default ranges.

Their owner (this module) links them: pods and Services of one are routed to the other.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chaos.kube import docker, image
from chaos.kube.api import Cluster
from chaos.kube.context import ALLOWED_LABEL

NETWORK = "other-kind"
PREFIX = "other-"
RANGES = {"ral": ("10.32.0.0/16", "10.33.0.0/16"), "cam": ("10.34.0.0/16", "10.35.0.0/16")}
"""Pods and Services; not those that a lab would take."""


@dataclass(frozen=True)
class Existing:
    """What an owner has to know of clusters.

    Attributes:
        kubeconfig: with a context for each site.
        contexts: site -> context.
        nodes: site -> names of its nodes.
        image: an image that all nodes have.
    """

    kubeconfig: Path
    contexts: Mapping[str, str]
    nodes: Mapping[str, tuple[str, ...]]
    image: str

    def cluster(self, site: str) -> Cluster:
        """Its API server."""
        return Cluster(site, self.kubeconfig, self.contexts[site])

    def release(self, site: str, namespace: str = "faultline", security: str = "privileged") -> None:
        """Make the namespace and release it for chaos, as `kubectl create` and `label` do.

        Args:
            site: in whose cluster.
            namespace: its name.
            security: the standard that its pods have to meet.
        """
        labels = {ALLOWED_LABEL: "true", "pod-security.kubernetes.io/enforce": security}
        self.cluster(site).apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        )

    def as_user(self, site: str, rights: Sequence[Mapping[str, Any]], file: Path) -> Path:
        """Make an account with these Roles and ClusterRoles only, and a kubeconfig that is its."""
        cluster = self.cluster(site)
        account = {"name": "runner", "namespace": "default"}
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        for one in rights:
            cluster.apply(dict(one))
            bound = {key: value for key, value in one["metadata"].items() if key == "namespace"}
            cluster.apply(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": f"{one['kind']}Binding",
                    "metadata": {"name": "runner", **bound},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": one["kind"],
                        "name": one["metadata"]["name"],
                    },
                    "subjects": [{"kind": "ServiceAccount", **account}],
                }
            )
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = "/api/v1/namespaces/default/serviceaccounts/runner/token"
        config = yaml.safe_load(self.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] = {"token": cluster.request("POST", path, asked)["status"]["token"]}
        file.write_text(yaml.safe_dump(config))
        return file


@contextmanager
def existing_clusters(directory: Path, nodes: Mapping[str, int]) -> Iterator[Existing]:
    """Make clusters with so many nodes each; delete them afterwards."""
    images = image.ensure(print)
    _delete(images.kind)
    docker.docker("network", "create", "--driver", "bridge", NETWORK)
    kubeconfig = directory / "kubeconfig.yaml"
    try:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda site: _create(site, nodes[site], images, directory), nodes))
        _merge([directory / f"{site}.yaml" for site in nodes], kubeconfig)
        names = {
            site: tuple(
                sorted(
                    (one.name for one in docker.nodes(f"{PREFIX}{site}")),
                    key=lambda name: (not name.endswith("control-plane"), name),
                )
            )
            for site in nodes
        }
        _link(names)
        found = Existing(kubeconfig, {site: f"kind-{PREFIX}{site}" for site in nodes}, names, images.lab)
        for site in nodes:
            _keep_dns_on_the_first_node(found.cluster(site))
        yield found
    finally:
        _delete(images.kind)


def _create(site: str, count: int, images: image.Images, directory: Path) -> None:
    pods, services = RANGES[site]
    config = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"podSubnet": pods, "serviceSubnet": services},
        "nodes": [{"role": "control-plane"}, *([{"role": "worker"}] * (count - 1))],
        "kubeadmConfigPatches": [
            yaml.safe_dump(
                {
                    "kind": "ClusterConfiguration",
                    "controllerManager": {
                        "extraArgs": {"node-monitor-grace-period": "12s", "node-monitor-period": "2s"}
                    },
                }
            ),
            yaml.safe_dump(
                {
                    "kind": "KubeletConfiguration",
                    "nodeStatusUpdateFrequency": "3s",
                    "nodeLeaseDurationSeconds": 12,
                }
            ),
            yaml.safe_dump({"kind": "InitConfiguration", "nodeRegistration": {"taints": []}}),
        ],
    }
    file = directory / f"{site}.kind.yaml"
    file.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK}
    kind = str(images.kind)
    name = f"{PREFIX}{site}"
    create = [kind, "create", "cluster", "--name", name, "--config", str(file), "--image", images.node]
    create += ["--kubeconfig", str(directory / f"{site}.yaml"), "--wait", "240s"]
    subprocess.run(create, check=True, env=environment, timeout=400)
    load = [kind, "load", "docker-image", images.lab, "--name", name]
    subprocess.run(load, check=True, env=environment, timeout=300)


def _keep_dns_on_the_first_node(cluster: Cluster) -> None:
    """Else it depends on the scheduler's luck whether a drain of another node touches kube-system."""
    kept = {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}
    cluster.patch("apps/v1", "Deployment", "coredns", {"spec": {"template": {"spec": kept}}}, "kube-system")
    deadline = time.monotonic() + 90.0
    while True:
        found = cluster.get("apps/v1", "Deployment", "coredns", "kube-system") or {}
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        if (
            seen
            and status.get("updatedReplicas")
            == status.get("replicas")
            == status.get("readyReplicas")
            == wanted
        ):
            return
        assert time.monotonic() < deadline, "CoreDNS does not move"
        time.sleep(0.5)


def _merge(files: list[Path], into: Path) -> None:
    parts = [yaml.safe_load(file.read_text()) for file in files]
    merged = parts[0]
    for part in parts[1:]:
        for key in ("clusters", "contexts", "users"):
            merged[key] += part[key]
    merged["current-context"] = ""
    into.write_text(yaml.safe_dump(merged))
    into.chmod(0o600)


def _link(names: Mapping[str, tuple[str, ...]]) -> None:
    """Route between the clusters over their common network: each node sends to the other's first node."""
    for site, own in names.items():
        for other in names:
            if other == site:
                continue
            first = docker.inspect([names[other][0]])[0].address
            for node in own:
                for network in RANGES[other]:
                    docker.inside(node, "ip", "route", "replace", network, "via", first)
        # Nothing may hide pods behind their node on the way to the other cluster.
        for node in own:
            for other in names:
                if other != site:
                    for network in RANGES[other]:
                        rule = ["POSTROUTING", "-t", "nat", "-d", network, "-j", "ACCEPT"]
                        docker.inside(node, "iptables", "-I", *rule, check=False)


def _delete(kind: Path) -> None:
    for name in {one.cluster for one in docker.nodes(PREFIX)}:
        subprocess.run([str(kind), "delete", "cluster", "--name", name], check=False, timeout=200)
    docker.docker("network", "rm", NETWORK, check=False)
