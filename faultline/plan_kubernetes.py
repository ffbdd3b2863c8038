"""What Kubernetes faults would do, in words: the part of a plan that is about clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.kubernetes_faults import (
    ApiServerDown,
    ClusterStop,
    ContainerKill,
    CorednsDown,
    GatewayKill,
    KubeletStop,
    KubernetesFault,
    NetworkIsolation,
    NodeCordon,
    NodeDrain,
    NodeFault,
    NodePause,
    NodeStop,
    PodDelete,
    RollingRestart,
    ScaleToZero,
    TargetFault,
)
from experiments.names import node_parts
from faultline import plan_targets
from topologies.model import Topology

if TYPE_CHECKING:
    from faultline.inputs import Inputs
    from faultline.plan import Plan


def what(fault: KubernetesFault) -> str:
    """What is broken."""
    if isinstance(fault, PodDelete):
        return f"{fault.target}: its pods are deleted{_grace(fault.grace)}"
    if isinstance(fault, ContainerKill):
        return f"{fault.target}: SIGKILL to its container (exit 137)"
    if isinstance(fault, ScaleToZero):
        return f"{fault.target}: scaled to no pods"
    if isinstance(fault, RollingRestart):
        return f"{fault.target}: its pods are replaced one after another"
    if isinstance(fault, NetworkIsolation):
        return f"{fault.target}: a NetworkPolicy lets nothing in or out"
    if isinstance(fault, NodeDrain):
        return f"node {fault.node}: cordoned, its pods evicted{_grace(fault.grace)}"
    if isinstance(fault, NodeFault):
        done = {
            NodeCordon: "marked unschedulable",
            NodeStop: "stopped",
            NodePause: "frozen",
            KubeletStop: "its kubelet stopped",
        }[type(fault)]
        return f"node {fault.node}: {done}"
    words: dict[type[KubernetesFault], str] = {
        ClusterStop: f"all nodes of {fault.cluster}: stopped",
        ApiServerDown: f"API server of {fault.cluster}: taken away, pods and Services go on",
        GatewayKill: f"VPN gateway pod of {fault.cluster}: deleted without grace",
        CorednsDown: f"CoreDNS of {fault.cluster}: scaled to no pods",
    }
    return words[type(fault)]


def undo(fault: KubernetesFault) -> str:
    """What takes it back."""
    if isinstance(fault, ContainerKill):
        return "the kubelet starts the container again; nothing else to do"
    if fault.is_momentary:
        return "its controller makes a new pod; nothing else to do"
    if isinstance(fault, ScaleToZero):
        return f"scale {fault.target} to the number of pods it had"
    if isinstance(fault, NetworkIsolation):
        return f"lift the isolation of {fault.target}"
    if isinstance(fault, NodeCordon | NodeDrain):
        return f"uncordon {fault.node}"
    if isinstance(fault, NodeStop):
        return f"start {fault.node} again, its links included"
    if isinstance(fault, NodePause):
        return f"let {fault.node} go on"
    if isinstance(fault, KubeletStop):
        return f"start the kubelet of {fault.node}"
    words: dict[type[KubernetesFault], str] = {
        ClusterStop: f"start the nodes of {fault.cluster} again, their links included",
        ApiServerDown: f"put the API server's manifest of {fault.cluster} back",
        CorednsDown: f"scale CoreDNS of {fault.cluster} to the number of pods it had",
    }
    return words[type(fault)]


def touches(fault: KubernetesFault, topology: Topology) -> list[str]:
    """Components, nodes and cluster parts it acts on."""
    if isinstance(fault, TargetFault | ScaleToZero | RollingRestart):
        return plan_targets.touched(fault.target, topology)
    if isinstance(fault, NodeFault):
        return [f"node {fault.node}"]
    if isinstance(fault, ClusterStop):
        return [f"node {fault.site}/{index}" for index in range(topology.sites[fault.site].nodes)]
    parts: dict[type[KubernetesFault], str] = {
        ApiServerDown: "API server",
        GatewayKill: "VPN gateway",
        CorednsDown: "CoreDNS",
    }
    return [f"{parts[type(fault)]} of {fault.cluster}"]


def reach(fault: KubernetesFault, topology: Topology) -> list[str]:
    """What it means for the services, as far as it follows from the topology alone."""
    site = fault.cluster
    if isinstance(fault, PodDelete | ContainerKill | ScaleToZero | NetworkIsolation):
        return plan_targets.reach(fault.target, topology) + _needs(fault)
    if isinstance(fault, ClusterStop) or (
        isinstance(fault, NodeStop | NodePause) and _is_gateway(fault.node)
    ):
        return [f"everything at {site} is out of reach: its first node is control plane and VPN gateway"]
    if isinstance(fault, NodeStop | NodePause | KubeletStop):
        return [f"pods on {fault.node} stay in their Services until the node monitor gives it up"]
    if isinstance(fault, NodeDrain):
        left = topology.sites[site].nodes - 1
        where = f"{left} other nodes" if left > 1 else "the other node" if left else "no other node"
        return [f"evicted pods have {where} at {site} to go to"]
    if isinstance(fault, GatewayKill):
        return [f"VPN traffic from and to {site} stops until the new pod has its tunnels"]
    if isinstance(fault, ApiServerDown):
        return [f"no pod is replaced and no endpoint changes at {site} meanwhile"]
    return []


def on_existing_clusters(planned: Plan, inputs: Inputs, allow_nodes: bool) -> Plan:
    """The plan for clusters that somebody else has: what is put there, and by what right.

    Raises:
        InputError: a fault is not for such clusters.
    """
    import yaml

    from chaos.kube.access import Access
    from chaos.kube.addresses import NAMESPACE
    from chaos.kube.existing import adapted, role
    from chaos.kube.manifests.rendering import render
    from chaos.kube.refusal import refusal
    from faultline.inputs import refuse_faults

    access = Access({}, allow_nodes=allow_nodes)
    refuse_faults(inputs.experiment, lambda fault: refusal(fault, access))
    rendered = render(inputs.topology, host_names=True)
    objects = {
        site: [f"{one['kind'].lower()}/{one['metadata']['name']}" for one in adapted(every, access.node_port)]
        for site, every in rendered.items()
    }
    safety = [
        f"only the namespace {NAMESPACE} of each cluster is touched, and only if its owner has labelled it "
        "faultline.io/chaos-allowed=true",
        "nodes are left alone" if not allow_nodes else "nodes may be touched (--allow-nodes)",
        "everything put there carries app.kubernetes.io/part-of=faultline and is removed afterwards",
        "each inverse is on disk before its fault is applied",
        "after a crash or power cut: faultline heal",
    ]
    return replace(
        planned, objects=objects, rights=yaml.safe_dump_all(role(allow_nodes), sort_keys=False), safety=safety
    )


def _needs(fault: KubernetesFault) -> list[str]:
    """What a cluster must have for the fault to change anything."""
    if not isinstance(fault, NetworkIsolation):
        return []
    return [
        f"takes a network plugin at {fault.cluster} that enforces NetworkPolicies: clusters of `--backend "
        "kind` have one, on others the run is refused where none is known"
    ]


def _is_gateway(node: str) -> bool:
    return node_parts(node)[1] == 0


def _grace(grace: float | None) -> str:
    return "" if grace is None else " without grace" if grace == 0 else f", {grace:g} s of grace"
