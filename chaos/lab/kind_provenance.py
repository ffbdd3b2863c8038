"""What a lab on kind was made of, for the run record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.errors import LabError
from chaos.host.cgroups import Cgroups
from chaos.kube import docker
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, path_of
from chaos.kube.image import Images, policy_enforcer
from chaos.kube.manifests.objects import CONFIG_ANNOTATION
from chaos.lab import provenance
from chaos.lab.state import LabState
from topologies.model import Topology


def collect(
    state: LabState,
    cgroups: Cgroups,
    network: Mapping[str, Any],
    clusters: Mapping[str, Cluster],
    images: Images,
) -> dict[str, Any]:
    """The facts of a lab that is up.

    Args:
        state: of the lab.
        cgroups: that it uses.
        network: facts of its WAN.
        clusters: site -> API server.
        images: that it runs from.
    """
    return {
        "machine": provenance.machine(),
        "versions": {
            "docker": docker.require(),
            "kubernetes": {site: cluster.version() for site, cluster in clusters.items()},
        },
        "images": {"node": images.node, "lab": images.lab},
        "network": {**network, "wireguard": wireguard(clusters)},
        "cgroup_version": cgroups.hierarchy.version,
        "nodes": {site: list(names) for site, names in state.nodes.items()},
        "cpu_limits": cpu_limits(state.topology),
        "quota_period": state.topology.kubernetes.cpu_period,
        "network_policies": policy_enforcer(images.node) or "not enforced",
        "configurations": {site: configurations(cluster) for site, cluster in clusters.items()},
    }


def cpu_limits(topology: Topology) -> dict[str, dict[str, float]]:
    """Site -> role -> cores that a pod of it may use."""
    settings = topology.kubernetes
    roles = ("iam", "db", "redis", "sentinel", "nginx", "haproxy", "gateway")
    return {
        name: {role: settings.cpu_limit(role, site.cpu) for role in roles}  # type: ignore[arg-type]
        for name, site in topology.sites.items()
    }


def configurations(cluster: Cluster) -> dict[str, str]:
    """Pod -> digest of what it is configured with."""
    found = (one["metadata"] for one in cluster.pods("app.kubernetes.io/part-of=faultline"))
    return {
        str(one["name"]): str(one["annotations"][CONFIG_ANNOTATION])
        for one in found
        if CONFIG_ANNOTATION in (one.get("annotations") or {})
    }


def wireguard(clusters: Mapping[str, Cluster]) -> dict[str, str]:
    """Which WireGuard carries the links, as the gateway of the first site that has one says."""
    for cluster in clusters.values():
        for pod in cluster.pods("faultline.io/role=gateway"):
            path = path_of("v1", "Pod", NAMESPACE, pod["metadata"]["name"]) + "/log"
            try:
                said = str(cluster.request("GET", path))
            except LabError:
                continue
            for line in said.splitlines():
                if " is up, " in line:
                    return {"implementation": line.rpartition(" is up, ")[2]}
    return {"implementation": "none"}
