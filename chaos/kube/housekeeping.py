"""Clusters that a lab left behind: emptied and put right when they are to be kept, deleted otherwise.

Nothing here relies on what the lab meant to do: clusters are found by the prefix of their names, and
nodes that are frozen, stopped or cordoned by looking at them. What only the undo log tells (a kubelet
that was stopped, an API server's manifest) has been put back from it before; clusters that cannot be put
right are deleted.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from chaos.errors import LabError

DIRECTORY = "kube"
"""Below a lab's directory: kubeconfigs of its clusters (`chaos.kube.clusters`)."""

EXISTING = "existing.json"
"""In that directory: says that the clusters are somebody else's (`chaos.kube.existing`)."""

PATIENCE = 90.0
"""Seconds for a kept cluster to be itself again."""

SYSTEM = "kube-system"


def is_needed() -> bool:
    """Whether this machine has a Docker engine, and so may have clusters."""
    return shutil.which("docker") is not None and Path("/var/run/docker.sock").exists()


def clear(*, keep: bool) -> tuple[list[str], bool]:
    """Empty what is to be kept, delete everything else.

    Args:
        keep: whether clusters that were made to be kept stay.

    Returns:
        What was done, and whether clusters are left.

    Raises:
        LabError: something could not be deleted.
    """
    from chaos.host.namespaces import PREFIX
    from chaos.kube import clusters, docker

    if not docker.is_there():
        return [], False
    kept = clusters.Kept.read() if keep else None
    if kept is None:
        return clusters.delete_all(), False
    present = {one.cluster for one in docker.nodes(PREFIX)}
    if present != {f"{PREFIX}{site}" for site in kept.sites}:
        return clusters.delete_all(), False
    try:
        return [line for site in kept.sites for line in _put_right(site, Path(kept.directory))], True
    except LabError as error:
        return [f"kept clusters cannot be put right ({error})", *clusters.delete_all()], False


def _put_right(site: str, directory: Path) -> list[str]:
    from chaos.kube import clusters, docker
    from chaos.kube.api import Cluster

    done = []
    for node in clusters.nodes_of(site):
        if node.state == "paused":
            docker.docker("unpause", node.name)
            done.append(f"unpaused {node.name}")
        elif node.state != "running":
            docker.docker("start", node.name)
            done.append(f"started {node.name}")
    cluster = Cluster(site, directory / f"{site}.yaml")
    deadline = time.monotonic() + PATIENCE
    cluster.wait(lambda: cluster.answers(2.0), f"the API server of {site} does not come back", deadline)
    for found in cluster.objects("v1", "Node"):
        if found["spec"].get("unschedulable"):
            name = found["metadata"]["name"]
            cluster.patch("v1", "Node", name, {"spec": {"unschedulable": None}})
            done.append(f"uncordoned {name}")
    if cluster.get("v1", "Namespace", clusters.NAMESPACE) is not None:
        cluster.clear(max(1.0, deadline - time.monotonic()))
        done.append(f"emptied the cluster of {site}")
    wanted = cluster.get("apps/v1", "Deployment", "coredns", SYSTEM)
    if wanted is not None and wanted["spec"].get("replicas") == 0:
        cluster.scale("Deployment", "coredns", 2, SYSTEM)
        done.append(f"started CoreDNS of {site}")
    cluster.wait(lambda: cluster.nodes_ready(5.0), f"not all nodes of {site} get ready", deadline)
    return done
