"""Which pod carries which component, and what is said of components whose cluster cannot be asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pymysql
import pytest

from chaos.errors import InjectionError
from chaos.faults.context import Component
from chaos.kube.accounting import group_of
from chaos.kube.api import Cluster, Unreachable, condition, path_of
from chaos.kube.components import Components, processes_of
from chaos.lab.kind_bringup import replicas_of
from chaos.lab.layout import Layout
from chaos.services import mariadb
from topologies.loader import load

TOPOLOGY = load("iris-2site-galera", size="lab", overrides=["services.iam.replicas.ral=2"])


class FakeCluster:
    """An API server that knows these pods."""

    def __init__(self, *pods: dict[str, Any], reachable: bool = True) -> None:
        self._pods = pods
        self._reachable = reachable

    def pods(self, selector: str = "", *, timeout: float = 1.0) -> list[dict[str, Any]]:
        """All of them."""
        if not self._reachable:
            raise Unreachable("no answer")
        return list(self._pods)


def pod(name: str, workload: str, created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    """A pod as the API server sends it."""
    return {
        "metadata": {
            "name": name,
            "namespace": "faultline",
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "labels": {"app.kubernetes.io/name": workload},
        },
        "spec": {"nodeName": "fl-ral-control-plane"},
        "status": {"phase": "Running", "podIP": "10.101.0.9", **status},
    }


def components(*pods: dict[str, Any], reachable: bool = True) -> Components:
    """The components of a lab whose site ral has these pods, and whose site cam is silent."""
    found = {"ral": FakeCluster(*pods, reachable=reachable), "cam": FakeCluster(reachable=False)}
    layout = Layout(tuple(TOPOLOGY.sites), Path("/nowhere"))
    return Components(TOPOLOGY, layout, cast("dict[str, Cluster]", found))


def carried(found: Components) -> dict[str, str]:
    """Component -> name of its pod, of those that have one."""
    return {one.reference.component: one.pod.name for one in found.at("ral") if one.pod is not None}


def test_pods_of_a_deployment_are_counted_by_age() -> None:
    """They have no numbers: the oldest is the first, whatever its name."""
    found = components(
        pod("iam-aaa-1", "iam", "2026-01-01T00:00:02Z"), pod("iam-zzz-2", "iam", "2026-01-01T00:00:01Z")
    )
    assert carried(found) == {"iam@ral/0": "iam-zzz-2", "iam@ral/1": "iam-aaa-1"}


def test_pods_with_names_are_found_by_them() -> None:
    """A database and a sentinel are told apart though their Services share a prefix."""
    found = components(pod("db-0", "db"), pod("cache-0", "cache"), pod("cache-sentinel-0", "cache-sentinel"))
    assert carried(found) == {
        "db@ral": "db-0",
        "cache@ral": "cache-0",
        "cache-sentinel@ral": "cache-sentinel-0",
    }


def test_a_pod_on_its_way_out_carries_nothing() -> None:
    """Its successor does, as soon as it is there."""
    old = pod("web-old", "web")
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert carried(components(old)) == {}
    assert carried(components(old, pod("web-new", "web", "2026-01-01T00:01:00Z"))) == {"web@ral": "web-new"}


def test_without_a_pod_or_a_container_a_component_is_down() -> None:
    """Both are said, with the reason that Kubernetes gives."""
    waiting = [{"state": {"waiting": {"reason": "ErrImageNeverPull"}}}]
    states = {
        one.component: (one.state, one.detail)
        for one in components(pod("db-0", "db", containerStatuses=waiting)).status("ral")
    }
    assert states["db@ral"] == ("down", "ErrImageNeverPull")
    assert states["cache@ral"] == ("down", "no pod")


def test_a_cluster_that_does_not_answer_is_unknown() -> None:
    """Never `up`, and never `down` either: nobody knows."""
    found = components(pod("db-0", "db")).status("cam")
    assert len(found) == sum(name.endswith("@cam") for name in components().references)
    assert {one.state for one in found} == {"unknown"}


def test_databases_are_found_again_where_the_cluster_does_not_answer() -> None:
    """The audit asks all of them: those of a silent cluster as they were last seen, or not at all."""
    found = components(pod("db-0", "db"))
    assert [one.component for one in found.databases()] == ["db@ral", "db@cam"]
    assert [one.address for one in found.databases()] == ["10.101.0.9", "10.202.0.33"]
    with pytest.raises(pymysql.err.OperationalError):
        mariadb.connect(found.databases()[1])


def test_a_missing_component_is_refused_by_its_name() -> None:
    """Faults name what the topology has; sentinels are not theirs."""
    with pytest.raises(InjectionError, match="db@nowhere/0"):
        components().find(Component("db", "nowhere", 0))
    assert components(pod("cache-0", "cache")).find(Component("cache", "ral", 0)).pod is not None


def test_processes_are_found_by_their_control_group() -> None:
    """This process is in some group: it is found by a part of that group's path, and by nothing else."""
    paths = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = max(paths, key=len)
    found = processes_of({own, "no-such-container"})
    assert os.getpid() in [process.pid for process in found[own]]
    assert "no-such-container" not in found


def test_the_group_of_a_node_is_that_of_its_container() -> None:
    """What the init system inside makes lies below it; both versions of control groups are read."""
    name = "a" * 64
    v1 = ["4:memory:/docker/other", f"3:cpu,cpuacct:/docker/{name}/init.scope"]
    assert group_of(name, v1) == f"docker/{name}"
    v2 = [f"0::/system.slice/docker-{name}.scope/init.scope"]
    assert group_of(name, v2) == f"system.slice/docker-{name}.scope"
    assert group_of("b" * 64, v1) is None


@pytest.mark.parametrize(
    ("version", "kind", "namespace", "name", "path"),
    [
        ("v1", "Pod", "faultline", "db-0", "/api/v1/namespaces/faultline/pods/db-0"),
        ("v1", "Node", "faultline", None, "/api/v1/nodes"),
        ("apps/v1", "StatefulSet", None, None, "/apis/apps/v1/statefulsets"),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "faultline",
            "x",
            "/apis/networking.k8s.io/v1/namespaces/faultline/networkpolicies/x",
        ),
    ],
)
def test_paths_are_those_of_the_api(
    version: str, kind: str, namespace: str | None, name: str | None, path: str
) -> None:
    """Core objects under /api, all others under /apis; cluster-wide ones without a namespace."""
    assert path_of(version, kind, namespace, name) == path


def test_a_condition_is_true_only_when_it_says_so() -> None:
    """Unknown is not true, and neither is a condition that is missing."""
    assert condition({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "Ready")
    assert not condition({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "Ready")
    assert not condition({}, "Ready")


def test_a_workload_that_nobody_has_looked_at_is_not_ready() -> None:
    """A DaemonSet without status wants at least one pod; a Deployment what its specification says."""
    assert replicas_of({"kind": "DaemonSet", "spec": {}}) == (1, 0)
    assert replicas_of({"kind": "Deployment", "spec": {"replicas": 3}, "status": {"readyReplicas": 2}}) == (
        3,
        2,
    )
