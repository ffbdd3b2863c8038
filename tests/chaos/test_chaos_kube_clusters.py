"""Clusters as data: their configuration, what makes them reusable, what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from chaos.errors import LabError
from chaos.kube import clusters
from chaos.kube.addresses import Addresses
from chaos.kube.clusters import GIB, Kept, Plan, available_memory, ensure_memory
from chaos.kube.settings import configuration, node_index, node_name
from topologies.loader import load
from topologies.model import Topology


def topology(*overrides: str) -> Topology:
    """Two sites in lab size."""
    return load("iris-2site-galera", size="lab", overrides=list(overrides))


def planned(*overrides: str, node: str = "node:1") -> Plan:
    """The clusters of the topology."""
    found = topology(*overrides)
    return Plan.of(found, Addresses.of(found), node)


def patches(*overrides: str) -> dict[str, dict[str, object]]:
    """What kubeadm is told about ral's cluster, by kind."""
    found = topology(*overrides)
    written = yaml.safe_load(configuration(found, "ral", Addresses.of(found)))
    return {one["kind"]: one for one in map(yaml.safe_load, written["kubeadmConfigPatches"])}


def test_clusters_have_ranges_of_their_own() -> None:
    """Sites get distinct ranges by their order in the file, so that they can route to each other."""
    ranges = []
    for text in planned().configurations.values():
        networking = yaml.safe_load(text)["networking"]
        ranges.append((networking["podSubnet"], networking["serviceSubnet"]))
    assert ranges == [("10.101.0.0/16", "10.201.0.0/16"), ("10.102.0.0/16", "10.202.0.0/16")]


def test_timers_of_the_topology_reach_kubeadm() -> None:
    """The same settings that the model has: grace period, leases, tolerations, proxies."""
    found = patches("kubernetes.node_monitor_grace_period=17s", "kubernetes.unreachable_toleration=23s")
    assert "17000ms" in str(found["ClusterConfiguration"]["controllerManager"])
    assert "'default-unreachable-toleration-seconds': '23'" in str(found["ClusterConfiguration"]["apiServer"])
    assert found["KubeletConfiguration"]["nodeLeaseDurationSeconds"] == 12
    assert found["KubeProxyConfiguration"]["iptables"] == {"minSyncPeriod": "1000ms", "syncPeriod": "30000ms"}


def test_gates_open_only_for_what_needs_them() -> None:
    """Upstream's defaults take no feature gate; another quota period does."""
    assert "featureGates" not in patches()["KubeletConfiguration"]
    changed = patches("kubernetes.cpu_period=50ms")["KubeletConfiguration"]
    assert changed["featureGates"] == {"CustomCPUCFSQuotaPeriod": True}
    assert changed["cpuCFSQuotaPeriod"] == "50ms"


def test_users_reach_front_ends_on_port_80() -> None:
    """The range of node ports begins where users knock."""
    assert "80-32767" in str(patches()["ClusterConfiguration"])


def test_every_node_carries_pods() -> None:
    """Kind frees the control plane of its taint only where it is alone."""
    assert "InitConfiguration" not in patches()
    assert patches("sites.ral.nodes=2")["InitConfiguration"]["nodeRegistration"] == {"taints": []}


@pytest.mark.parametrize("index", range(4))
def test_node_names_are_those_of_kind(index: int) -> None:
    """control-plane, worker, worker2, worker3: and back."""
    assert node_index(node_name("ral", index)) == index
    assert [node_name("ral", n) for n in range(3)] == [
        "fl-ral-control-plane",
        "fl-ral-worker",
        "fl-ral-worker2",
    ]


def test_clusters_are_taken_over_only_if_nothing_fixed_differs() -> None:
    """Workload and links may change between runs; nodes, settings and the node image may not."""
    same = planned("links[0].rtt=200ms", "sites.ral.cpu=0.7")
    assert same.shape == planned().shape
    for other in (
        planned("sites.ral.nodes=2"),
        planned("kubernetes.node_monitor_grace_period=17s"),
        planned(node="node:2"),
    ):
        assert other.shape != planned().shape


def test_too_little_memory_is_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has what is needed, what there is, and what to do."""
    monkeypatch.setattr(clusters, "available_memory", lambda: 1.0 * GIB)
    with pytest.raises(LabError, match=r"2 clusters with 3 nodes need about 3\.\d GiB.* 1\.0 GiB"):
        ensure_memory(planned("sites.cam.nodes=2"))
    monkeypatch.setattr(clusters, "available_memory", lambda: 100.0 * GIB)
    ensure_memory(planned("sites.cam.nodes=2"))


def test_available_memory_is_what_the_kernel_says() -> None:
    """MemAvailable, in bytes; not MemFree, which leaves caches out."""
    assert available_memory("MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n") == 2048 * 1024
    with pytest.raises(LabError):
        available_memory("MemTotal: 9 kB\n")


def test_what_is_kept_is_found_by_the_next_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The note on kept clusters is the machine's, survives its writer, and a torn one counts as none."""
    monkeypatch.setattr(clusters, "KEPT", tmp_path / "clusters.json")
    assert Kept.read() is None
    plan = planned()
    clusters.Clusters(tmp_path / "lab", lambda text: None).keep(plan)
    assert Kept.read() == Kept(plan.shape, str(tmp_path / "lab" / "kube"), ("ral", "cam"))
    (tmp_path / "clusters.json").write_text('{"shape": "a"')
    assert Kept.read() is None
