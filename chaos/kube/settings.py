"""The configuration of one site's cluster: a topology's settings in the words of kind and kubeadm."""

from __future__ import annotations

from typing import Any

import yaml

from chaos.kube.addresses import Addresses
from topologies.kubernetes import Kubernetes
from topologies.model import Topology

FIRST_PORT = 80
NODE_PORTS = f"{FIRST_PORT}-32767"
"""Ports that Services may have on nodes. Front ends listen on 80, as users expect; the API server's own
default starts at 30000."""

DEFAULT_CPU_PERIOD = 0.1
DEFAULT_BACKOFF = 300.0


def cluster_name(site: str) -> str:
    """Name of the site's cluster: the lab's prefix and the site."""
    return f"fl-{site}"


def node_name(site: str, index: int) -> str:
    """Name of node ``index`` (from 0) of a site; the first is the control plane and the gateway."""
    if index == 0:
        return f"{cluster_name(site)}-control-plane"
    return f"{cluster_name(site)}-worker{'' if index == 1 else index}"


def node_index(name: str) -> int:
    """Number of the node that kind calls ``name``: the way back from `node_name`."""
    if name.endswith("-control-plane"):
        return 0
    digits = name.rpartition("-worker")[2]
    return int(digits or 1)


def configuration(topology: Topology, site: str, addresses: Addresses) -> str:
    """The kind configuration of ``site``: nodes, ranges, and patches for kubeadm."""
    settings = topology.kubernetes
    roles = ["control-plane"] + ["worker"] * (topology.sites[site].nodes - 1)
    return yaml.safe_dump(
        {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": cluster_name(site),
            "networking": {
                "ipFamily": "ipv4",
                "apiServerAddress": "127.0.0.1",
                "podSubnet": addresses.pod_range(site),
                "serviceSubnet": addresses.service_range(site),
            },
            "nodes": [{"role": role} for role in roles],
            "kubeadmConfigPatches": [
                yaml.safe_dump(patch, sort_keys=False) for patch in patches(settings, len(roles))
            ],
        },
        sort_keys=False,
    )


def patches(settings: Kubernetes, nodes: int) -> list[dict[str, Any]]:
    """What kubeadm, the kubelets and the proxies of a cluster of ``nodes`` are told beyond their defaults."""
    kubelet: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "nodeStatusUpdateFrequency": spell(settings.node_status_update_frequency),
        "nodeStatusReportFrequency": spell(settings.node_status_reports),
        "nodeLeaseDurationSeconds": int(settings.node_lease_duration),
    }
    gates = {}
    if settings.cpu_period != DEFAULT_CPU_PERIOD:
        gates["CustomCPUCFSQuotaPeriod"] = True
        kubelet["cpuCFSQuotaPeriod"] = spell(settings.cpu_period)
    if settings.crash_backoff_max != DEFAULT_BACKOFF:
        gates["KubeletCrashLoopBackOffMax"] = True
        kubelet["crashLoopBackOff"] = {"maxContainerRestartPeriod": spell(settings.crash_backoff_max)}
    if gates:
        kubelet["featureGates"] = gates
    # Every node of a lab carries pods, the control plane too. Where it is the only one kind itself takes
    # the taint away, and fails if there is none.
    untainted = [{"kind": "InitConfiguration", "nodeRegistration": {"taints": []}}] if nodes > 1 else []
    return [
        *untainted,
        {
            "kind": "ClusterConfiguration",
            "apiServer": {
                "extraArgs": {
                    "service-node-port-range": NODE_PORTS,
                    "default-not-ready-toleration-seconds": str(int(settings.not_ready_toleration)),
                    "default-unreachable-toleration-seconds": str(int(settings.unreachable_toleration)),
                }
            },
            "controllerManager": {
                "extraArgs": {
                    "node-monitor-period": spell(settings.node_monitor_period),
                    "node-monitor-grace-period": spell(settings.node_monitor_grace),
                    "endpointslice-updates-batch-period": spell(settings.endpoints_batch_period),
                }
            },
        },
        kubelet,
        {
            "kind": "KubeProxyConfiguration",
            "iptables": {
                "minSyncPeriod": spell(settings.proxy_min_sync_period),
                "syncPeriod": spell(settings.proxy_sync_period),
            },
        },
    ]


def spell(seconds: float) -> str:
    """A duration as Go reads it, in milliseconds."""
    return f"{round(seconds * 1000)}ms"
