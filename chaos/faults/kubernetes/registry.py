"""The faults of a lab whose sites are clusters, and what takes each of them back after a crash."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.faults import degrade, partition, pause
from chaos.faults import registry as processes
from chaos.faults.context import FaultDriver, Inverse
from chaos.faults.kubernetes import (
    api_server_down,
    cluster_stop,
    container_kill,
    coredns_down,
    gateway_kill,
    kill,
    kubelet_stop,
    momentary,
    network_isolation,
    node_cordon,
    node_drain,
    node_pause,
    node_stop,
    nodes,
    pod_delete,
    rolling_restart,
    scale_to_zero,
    scaling,
)
from chaos.faults.registry import Registry
from chaos.kube.context import KubernetesContext

_DRIVERS: Mapping[str, FaultDriver[KubernetesContext]] = {
    "kill": kill.KubernetesKillDriver(),
    "pause": pause.PauseDriver(),
    "partition": partition.PartitionDriver(),
    "degrade": degrade.DegradeDriver(),
    "pod-delete": pod_delete.PodDeleteDriver(),
    "container-kill": container_kill.ContainerKillDriver(),
    "scale-to-zero": scale_to_zero.ScaleToZeroDriver(),
    "rolling-restart": rolling_restart.RollingRestartDriver(),
    "node-cordon": node_cordon.NodeCordonDriver(),
    "node-drain": node_drain.NodeDrainDriver(),
    "node-stop": node_stop.NodeStopDriver(),
    "node-pause": node_pause.NodePauseDriver(),
    "kubelet-stop": kubelet_stop.KubeletStopDriver(),
    "cluster-stop": cluster_stop.ClusterStopDriver(),
    "api-server-down": api_server_down.ApiServerDownDriver(),
    "gateway-kill": gateway_kill.GatewayKillDriver(),
    "network-isolation": network_isolation.NetworkIsolationDriver(),
    "coredns-down": coredns_down.CorednsDownDriver(),
}


def _scaled(inverse: Inverse) -> str:
    return "scale " + ", ".join(f"{workload} to {count}" for workload, count in scaling.held_by(inverse))


def _nodes(inverse: Inverse) -> str:
    return ", ".join(inverse.args["nodes"])


CLUSTERS = Registry(
    drivers=_DRIVERS,
    undoers={
        pause.KIND: _DRIVERS["pause"],
        partition.KIND: _DRIVERS["partition"],
        degrade.KIND: _DRIVERS["degrade"],
        momentary.KIND: _DRIVERS["pod-delete"],
        scaling.KIND: _DRIVERS["scale-to-zero"],
        node_cordon.KIND: _DRIVERS["node-cordon"],
        node_drain.KIND: _DRIVERS["node-drain"],
        nodes.START: _DRIVERS["node-stop"],
        nodes.UNPAUSE: _DRIVERS["node-pause"],
        kubelet_stop.KIND: _DRIVERS["kubelet-stop"],
        api_server_down.KIND: _DRIVERS["api-server-down"],
        network_isolation.KIND: _DRIVERS["network-isolation"],
    },
    words={
        pause.KIND: processes.undo_command,
        partition.KIND: processes.undo_command,
        degrade.KIND: processes.undo_command,
        momentary.KIND: lambda inverse: "nothing: the cluster repairs it by itself",
        scaling.KIND: _scaled,
        node_cordon.KIND: lambda inverse: f"uncordon {inverse.args['node']}",
        node_drain.KIND: lambda inverse: f"uncordon {inverse.args['node']}",
        nodes.START: lambda inverse: f"start {_nodes(inverse)}",
        nodes.UNPAUSE: lambda inverse: f"let {_nodes(inverse)} go on",
        kubelet_stop.KIND: lambda inverse: f"start the kubelet of {inverse.args['node']}",
        api_server_down.KIND: lambda inverse: f"put the API server's manifest back on {inverse.args['node']}",
        network_isolation.KIND: lambda inverse: (
            f"take the isolating mark off {', '.join(inverse.args['pods'])}"
        ),
    },
)
"""The faults of a lab of clusters."""
