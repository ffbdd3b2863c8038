"""Kubernetes faults and the witness on a real cluster of two nodes, which no lab made.

The workloads are idle web servers with the names and labels of the lab's: what is tested is what
clusters do when they are hurt, not the service.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pymysql
import pytest
from cluster_bench import TOPOLOGY, Bench, ready, until, workload
from existing_clusters import Existing, existing_clusters
from owners_files import one_fault

from chaos.errors import InjectionError
from chaos.faults.kubernetes import replay
from chaos.faults.kubernetes.registry import CLUSTERS
from chaos.host.processes import is_stopped
from chaos.kube import portforward, surroundings
from chaos.kube.access import Access
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import Addresses
from chaos.kube.api import Cluster
from chaos.kube.existing import KINDS, OURS, role
from chaos.kube.machines import DockerMachines
from chaos.kube.manifests.database import OBSERVER_USER
from chaos.kube.manifests.rendering import render
from chaos.kube.manifests.secrets import Secrets
from chaos.kube.refusal import not_enforced
from chaos.kube.targets import ClusterTargets
from chaos.lab.kind_bringup import replicas_of
from chaos.lab.layout import MARIADB_PORT
from chaos.measure import consistency
from chaos.measure.recorder import read_events
from chaos.services import mariadb
from experiments import kubernetes_faults as kf
from experiments.faults import Kill, Pause
from topologies.loader import load

pytestmark = pytest.mark.kind


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Existing]:
    """One cluster of two nodes with the namespace released."""
    with existing_clusters(tmp_path_factory.mktemp("existing"), {"ral": 2}) as found:
        found.release("ral")
        found.cluster("ral").apply_all(
            [workload(found.image, "iam", "Deployment", 2), workload(found.image, "db", "StatefulSet", 2)]
        )
        cluster = found.cluster("ral")
        until(lambda: len(ready(cluster, "iam")) == 2 and len(ready(cluster, "db")) == 2, 90.0)
        yield found


@pytest.fixture
def bench(existing: Existing, tmp_path: Path) -> Iterator[Bench]:
    """A settled cluster with a witness."""
    found = Bench(existing, tmp_path)
    found.settle()
    found.witness.start()
    time.sleep(1.5)
    yield found
    for record in reversed(found.log.pending()):
        CLUSTERS.undo(found.targets, found.log, record)
    found.settle()
    found.witness.stop()


def test_a_deleted_pod_is_replaced_and_the_witness_tells(bench: Bench) -> None:
    """Without grace: gone at once, a new one made and ready; the Service's view is not needed for that."""
    before = set(ready(bench.cluster, "db"))
    began = time.time()
    CLUSTERS.inject(bench.targets, bench.log, kf.PodDelete(target="db@ral/1", grace=0.0))
    deleted = bench.awaits("db@ral/1", "pod.deleted", 5.0)
    came = bench.awaits("db@ral/1", "pod.ready", 30.0)
    assert began - 0.1 <= deleted < came
    assert len(set(ready(bench.cluster, "db")) & before) == 1
    assert ("db@ral/0", "pod.deleted") not in bench.kinds()


def test_a_killed_container_restarts_in_its_pod_with_137(bench: Bench) -> None:
    """The pod keeps its uid; its restart count and exit code tell of SIGKILL."""
    before = set(ready(bench.cluster, "db"))
    CLUSTERS.inject(bench.targets, bench.log, kf.ContainerKill(target="db@ral/0"))
    bench.awaits("db@ral/0", "container.restart", 20.0)
    bench.settle()
    assert set(ready(bench.cluster, "db")) == before
    event = next(one for one in read_events(bench.directory) if one.kind == "container.restart")
    assert "exit code 137" in event.detail


def test_a_kill_lasts_until_it_is_taken_back(bench: Bench) -> None:
    """No pod and no process of the workload for as long as the fault is in force."""
    component = next(one for one in bench.targets.components() if str(one) == "db@ral/0")
    containers = [name for pod in bench.targets.pods(component) for name in pod.containers]
    record = CLUSTERS.inject(bench.targets, bench.log, Kill(target="db@ral"))
    assert bench.machines.processes(containers) == []
    time.sleep(4.0)
    assert bench.targets.pods(component) == []
    CLUSTERS.undo(bench.targets, bench.log, record)
    until(lambda: len(ready(bench.cluster, "db")) == 2, 60.0)


def test_a_paused_pod_stands_still_and_goes_on(bench: Bench) -> None:
    """Its processes are stopped; the readiness probe fails; afterwards it is ready again."""
    component = next(one for one in bench.targets.components() if str(one) == "db@ral/1")
    record = CLUSTERS.inject(bench.targets, bench.log, Pause(target="db@ral/1"))
    assert all(is_stopped(one) for one in bench.targets.processes(component))
    # The kernel accepts connections for it: a TCP probe succeeds, as with every hung process.
    time.sleep(2.0)
    CLUSTERS.undo(bench.targets, bench.log, record)
    assert not any(is_stopped(one) for one in bench.targets.processes(component))


def test_scaling_and_rolling_go_through_the_api(bench: Bench) -> None:
    """To no pods and back to the number it had; all pods replaced by a rolling restart."""
    record = CLUSTERS.inject(bench.targets, bench.log, kf.ScaleToZero(target="iam@ral"))
    until(lambda: ready(bench.cluster, "iam") == [], 30.0)
    CLUSTERS.undo(bench.targets, bench.log, record)
    bench.settle()
    before = set(ready(bench.cluster, "db"))
    CLUSTERS.inject(bench.targets, bench.log, kf.RollingRestart(target="db@ral"))
    until(lambda: not set(ready(bench.cluster, "db")) & before, 60.0)


def test_a_drained_node_is_empty_and_uncordoned_afterwards(bench: Bench) -> None:
    """Pods of the worker come up elsewhere."""
    node = bench.nodes[1]
    record = CLUSTERS.inject(bench.targets, bench.log, kf.NodeDrain(node="ral/1", grace=1.0))
    actions = ClusterActions(bench.cluster)
    until(
        lambda: not [one for one in actions.pods("faultline", node=node) if not one.deleting],
        30.0,
    )
    bench.awaits("ral/1", "node.cordoned", 5.0)
    until(lambda: len(ready(bench.cluster, "iam")) == 2, 60.0)
    CLUSTERS.undo(bench.targets, bench.log, record)
    assert actions.schedulable(node)


def test_a_frozen_node_is_noticed_and_put_right_by_a_new_process(bench: Bench) -> None:
    """Not ready after the grace period of 12 s, ready again after the undo, which is harmless twice.

    Before the test that takes the API server away: controllers that start anew give every node more time.
    """
    began = time.time()
    record = CLUSTERS.inject(bench.targets, bench.log, kf.NodePause(node="ral/1"))
    assert bench.machines.state(bench.nodes[1]) == "paused"
    noticed = bench.awaits("ral/1", "node.not-ready", 40.0, since=began)
    assert 6.0 < noticed - began < 20.0
    replay.replay(bench.directory, record.inverse)
    replay.replay(bench.directory, record.inverse)
    bench.log.done(record.id)
    bench.awaits("ral/1", "node.ready", 60.0, since=noticed)


def test_a_stopped_kubelet_leaves_its_pods_alone(bench: Bench) -> None:
    """It is stopped on its node and nowhere else, and started again."""

    def state(node: str) -> str:
        return bench.machines.run(node, "systemctl", "is-active", "kubelet", check=False).strip()

    component = next(one for one in bench.targets.components() if str(one) == "db@ral/0")
    alive = list(bench.targets.processes(component))
    record = CLUSTERS.inject(bench.targets, bench.log, kf.KubeletStop(node="ral/1"))
    assert (state(bench.nodes[1]), state(bench.nodes[0])) == ("inactive", "active")
    assert bench.targets.processes(component) == alive
    CLUSTERS.undo(bench.targets, bench.log, record)
    assert state(bench.nodes[1]) == "active"


def test_pods_outlive_their_api_server(bench: Bench) -> None:
    """Unreachable is told, pods go on, and after the undo the server answers again."""
    component = next(one for one in bench.targets.components() if str(one) == "db@ral/0")
    alive = list(bench.targets.processes(component))
    record = CLUSTERS.inject(bench.targets, bench.log, kf.ApiServerDown(site="ral"))
    assert not bench.cluster.answers(1.0)
    bench.awaits("api@ral", "api.unreachable", 10.0)
    assert bench.targets.processes(component) == alive  # known from before
    with pytest.raises(InjectionError, match="does not answer"):
        CLUSTERS.inject(bench.targets, bench.log, kf.PodDelete(target="db@ral/0"))
    time.sleep(5.0)
    assert not bench.cluster.answers(1.0)
    CLUSTERS.undo(bench.targets, bench.log, record)
    bench.awaits("api@ral", "api.reachable", 90.0)


def test_a_node_without_power_comes_back_with_its_pods(bench: Bench) -> None:
    """Stopped and started from outside; the stateful pod waits for its node."""
    record = CLUSTERS.inject(bench.targets, bench.log, kf.NodeStop(node="ral/1"))
    assert bench.machines.state(bench.nodes[1]) == "exited"
    with pytest.raises(InjectionError, match="it is exited"):
        CLUSTERS.inject(bench.targets, bench.log, kf.NodePause(node="ral/1"))
    assert bench.log.pending() == [record]
    CLUSTERS.undo(bench.targets, bench.log, record)
    assert bench.machines.state(bench.nodes[1]) == "running"


def test_coredns_is_in_a_namespace_that_is_not_released(bench: Bench) -> None:
    """On somebody else's cluster it is refused until its owner says so; then it is scaled down and back."""
    with pytest.raises(InjectionError, match="kube-system of ral is not released"):
        CLUSTERS.inject(bench.targets, bench.log, kf.CorednsDown(site="ral"))
    mark = {"metadata": {"labels": {"faultline.io/chaos-allowed": "true"}}}
    bench.cluster.patch("v1", "Namespace", "kube-system", mark)
    record = CLUSTERS.inject(bench.targets, bench.log, kf.CorednsDown(site="ral"))
    found = bench.cluster.get("apps/v1", "Deployment", "coredns", "kube-system")
    assert found is not None
    assert found["spec"]["replicas"] == 0
    CLUSTERS.undo(bench.targets, bench.log, record)
    found = bench.cluster.get("apps/v1", "Deployment", "coredns", "kube-system")
    assert found is not None
    assert found["spec"]["replicas"] > 0


def test_missing_rights_are_named(bench: Bench, existing: Existing) -> None:
    """An account that may only look: 403 becomes the right that is missing, and nothing is changed."""
    import yaml

    bench.cluster.apply_all(
        [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "looker", "namespace": "faultline"},
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "looker"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "looker", "namespace": "faultline"}],
            },
        ]
    )
    path = "/api/v1/namespaces/faultline/serviceaccounts/looker/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = bench.cluster.request("POST", path, body)["status"]["token"]
    config = yaml.safe_load(bench.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    poor = bench.directory / "poor.yaml"
    poor.write_text(yaml.safe_dump(config))
    targets = ClusterTargets(
        TOPOLOGY, {"ral": Cluster("ral", poor)}, bench.machines, lambda: pytest.fail("no links")
    )
    with pytest.raises(InjectionError, match="the right to delete pods is missing"):
        CLUSTERS.inject(targets, bench.log, kf.PodDelete(target="db@ral/0"))
    with pytest.raises(InjectionError, match="the right to patch deployments is missing"):
        CLUSTERS.inject(targets, bench.log, kf.ScaleToZero(target="iam@ral"))
    with pytest.raises(InjectionError, match="the right to get nodes is missing"):
        CLUSTERS.inject(targets, bench.log, kf.NodeCordon(node="ral/1"))
    # Nothing was changed; an undo that is refused as well stays on record for somebody who may.
    assert {one.inverse.kind for one in bench.log.pending()} <= {"self-repair", "scale"}
    assert len(ready(bench.cluster, "iam")) == len(ready(bench.cluster, "db")) == 2


def test_a_database_in_a_pod_is_asked_through_the_api_server(existing: Existing) -> None:
    """The lab's own database server, by the account that may only read, as the audit asks it."""
    cluster = existing.cluster("ral")
    topology = load("iris-1site", size="lab")
    ranges = {"ral": (surroundings.pod_range(cluster), surroundings.service_range(cluster))}
    secrets = Secrets.generate()
    rendered = render(
        topology,
        image=existing.image,
        secrets=secrets,
        addresses=Addresses.of(topology).within(ranges),
        host_names=True,
    )["ral"]
    space = "faultline-database"
    existing.release("ral", space)
    try:
        cluster.apply_all(
            {**one, "metadata": {**one["metadata"], "namespace": space}}
            for one in rendered
            if one["kind"] != "Namespace" and one["metadata"]["name"] in ("db", "db-0")
        )
        until(lambda: replicas_of(cluster.get("apps/v1", "StatefulSet", "db", space) or {})[1] == 1, 120.0)

        def connect(timeout: float) -> Any:
            return portforward.database(
                cluster,
                space,
                "db-0",
                MARIADB_PORT,
                user=OBSERVER_USER,
                password=secrets.observer_password,
                name=mariadb.DATABASE,
                timeout=timeout,
            )

        connection = connect(30.0)
        assert int(mariadb.status(connection, "uptime")["uptime"]) >= 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT repeat('x', 200000), count(*) FROM client_details")
            ((long, clients),) = cursor.fetchall()
            assert len(long) == 200000 and clients > 0
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute("DELETE FROM client_details")
        connection.close()
        found = consistency.audit(
            topology,
            [consistency.Server("db@ral", "db", connect)],
            pd.DataFrame(
                [("access-token", "ok", "t", "r")], columns=["request", "outcome", "token", "request_id"]
            ),
        )
        assert found.silence == {}
        assert (found.audit.acknowledged, found.audit.lost) == (1, 1)  # it was never there
        with pytest.raises(pymysql.err.OperationalError, match="refused"):
            portforward.database(cluster, space, "db-0", 3999, user="x", password="", name="x", timeout=5.0)
    finally:
        # Its Services have the addresses that the next lab's want: they are free only when these are gone.
        for one in ("db", "db-0"):
            cluster.delete("v1", "Service", one, namespace=space)
        cluster.delete("v1", "Namespace", space)
        until(lambda: not cluster.objects("v1", "Service", namespace=space), 30.0)


EXPERIMENT = one_fault(
    "pod_delete",
    "{target: iam@ral, grace: 0s, at: 12s, duration: 10s}",
    title="A pod on somebody else's cluster",
    control=True,
)


def test_a_whole_run_on_a_cluster_that_is_there(existing: Existing, tmp_path: Path) -> None:
    """Predict, put the service there, break, measure, judge, and leave nothing.

    By an account that has the rights which are asked for and no others, into a namespace for pods
    that are restricted.
    """
    cluster = existing.cluster("ral")
    existing.release("ral", security="restricted")
    user = existing.as_user("ral", role(), tmp_path / "user.yaml")
    cluster.delete("apps/v1", "Deployment", "iam")
    cluster.delete("apps/v1", "StatefulSet", "db")
    until(lambda: not cluster.pods(), 60.0)
    file = tmp_path / "one.yaml"
    file.write_text(EXPERIMENT)
    environment = {
        **os.environ,
        "FAULTLINE_HOME": str(tmp_path / "home"),
        "FAULTLINE_LAB_DIR": str(tmp_path / "lab"),
    }

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "faultline", "run", str(file), "--backend", "kubernetes", "--json"]
        command += ["--kubeconfig", str(user), "--replications", "2", *options]
        context = f"ral={existing.contexts['ral']}"
        return subprocess.run(
            [*command, "--context", context],
            capture_output=True,
            text=True,
            env=environment,
            timeout=400,
            check=False,
        )

    missing = run("--image", "nowhere.invalid/lab:1")
    assert missing.returncode == 3, missing.stderr
    assert "has not got the image" in missing.stderr
    assert cluster.objects("v1", "Service") == []

    done = run("--image", existing.image)
    assert done.returncode in (0, 1, 2), done.stderr
    measured = {one["key"]: one for one in json.loads(done.stdout)["metrics"]}
    assert measured["time_to{event=pod.deleted}@whole"]["value"] < 1.0
    assert 0.5 < measured["time_to{event=pod.ready}@whole"]["value"] < 25.0
    assert 0.2 < measured["availability{flow=health}@whole"]["value"] < 1.0
    assert measured["lost_commits@whole"]["value"] == 0.0, done.stderr  # the database was asked
    assert measured["time_to{event=galera.view}@whole"]["value"] is None  # nobody looks for it here

    for version, kind in KINDS:
        if (version, kind) != ("v1", "PersistentVolumeClaim"):  # goes when its pod has gone
            assert cluster.objects(version, kind, selector=OURS) == [], kind
    namespace = cluster.get("v1", "Namespace", "faultline")
    assert namespace is not None
    assert not (tmp_path / "lab").exists()


def test_a_sigkill_while_the_service_is_put_there_is_healed_when_the_cluster_answers(
    existing: Existing, tmp_path: Path
) -> None:
    """What is there stays on record while the API server is away, and is gone after the next attempt."""
    cluster, lab = existing.cluster("ral"), tmp_path / "lab"
    environment = {
        **os.environ,
        "FAULTLINE_HOME": str(tmp_path / "home"),
        "FAULTLINE_LAB_DIR": str(lab),
        "FAULTLINE_CONTEXTS": f"ral={existing.contexts['ral']}",
        "FAULTLINE_IMAGE": existing.image,
        "KUBECONFIG": str(existing.kubeconfig),
    }
    program = (
        "from chaos.lab.kubernetes import open_lab; from topologies.loader import load\n"
        "open_lab().up(load('iris-1site', size='lab'))"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as harness:
        until(lambda: cluster.pods() or harness.poll() is not None, 60.0)
        assert harness.poll() is None
        os.kill(harness.pid, signal.SIGKILL)

    def heal() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "faultline", "heal"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    machines = DockerMachines(lambda site: existing.nodes["ral"])
    machines.pause(existing.nodes["ral"][:1])
    try:
        early = heal()
    finally:
        machines.unpause(existing.nodes["ral"][:1])
    assert early.returncode == 3, early.stderr
    assert "the lab's objects are still in the namespace faultline of ral" in early.stderr
    until(lambda: cluster.answers(2.0), 60.0)
    late = heal()
    assert late.returncode == 0, late.stderr
    for version, kind in KINDS:
        assert cluster.objects(version, kind, selector=OURS) == [], kind
    assert not lab.exists()


def test_who_enforces_policies_is_found_out(existing: Existing) -> None:
    """By the network's own DaemonSet; without one an isolation would be refused."""
    access = Access(existing.contexts, existing.kubeconfig)
    assert not_enforced("ral", access) is None
    assert ClusterActions(existing.cluster("ral")).policy_enforcer() == "podlink"
