"""Kubernetes faults: what they check, what they ask of a cluster, and how each is taken back.

Clusters are imitated in memory (`fake_clusters`); tests/chaos/test_chaos_kube_real.py does the same on
real ones.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_clusters import NAMESPACE, FakeClusters

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import node_drain, replay
from chaos.faults.kubernetes.registry import CLUSTERS
from chaos.host.processes import Process, is_alive
from chaos.kube.context import Workload
from chaos.undo import Record, UndoLog
from experiments import kubernetes_faults as kf
from experiments.faults import Fault, Kill, Pause


@pytest.fixture
def lab() -> FakeClusters:
    """Two sites in memory."""
    return FakeClusters()


@pytest.fixture
def log(tmp_path: Path) -> UndoLog:
    """An undo log on disk."""
    return UndoLog(tmp_path / "undo.jsonl")


@pytest.fixture
def process() -> Iterator[Callable[[], Process]]:
    """Starts real processes for fakes to own."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Process:
        started.append(subprocess.Popen(["sleep", "60"]))
        found = Process.of(started[-1].pid)
        assert found is not None
        return found

    yield start
    for one in started:
        one.kill()
        one.wait()


def populate(lab: FakeClusters, start: Callable[[], Process]) -> dict[str, Process]:
    """Give every container of ral a process."""
    found = {}
    for pod in lab.clusters["ral"].found:
        found[pod.name] = start()
        lab.machines.living[pod.containers[0]] = [found[pod.name]]
    return found


def asked(lab: FakeClusters, site: str = "ral") -> list[str]:
    """What changed something at a site."""
    looking = ("pods", "allowed", "replicas", "schedulable")
    return [line for line in lab.clusters[site].log if not line.startswith(looking)]


FAULTS: list[Fault] = [
    kf.PodDelete(target="iam@ral", grace=0.0),
    kf.ScaleToZero(target="iam@ral"),
    kf.RollingRestart(target="db@ral"),
    kf.NodeCordon(node="ral/1"),
    kf.NodeDrain(node="ral/1"),
    kf.NodeStop(node="ral/1"),
    kf.NodePause(node="ral/1"),
    kf.KubeletStop(node="ral/1"),
    kf.ClusterStop(site="ral"),
    kf.ApiServerDown(site="ral"),
    kf.GatewayKill(site="ral"),
    kf.NetworkIsolation(target="iam@ral"),
    kf.CorednsDown(site="ral"),
]


class TestOrder:
    """What holds for every fault."""

    def test_every_fault_has_a_driver_and_every_inverse_an_undoer_and_words(self) -> None:
        """All faults of the vocabulary can be carried out on clusters."""
        kinds = {model.model_fields["fault"].default for model in kf.AnyKubernetesFault.__args__}
        assert set(CLUSTERS.drivers) == kinds | {"kill", "pause", "partition", "degrade"}
        assert set(CLUSTERS.undoers) == set(CLUSTERS.words)
        assert set(CLUSTERS.undoers) - replay.KINDS == {"continue", "heal", "restore"}

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.fault)
    def test_planning_touches_nothing_and_its_inverse_survives_the_disk(
        self, lab: FakeClusters, log: UndoLog, fault: Fault
    ) -> None:
        """A plan asks, and its result reads back equal: only then may the fault be applied."""
        lab.clusters["ral"].enforcer = "calico-node"
        lab.machines.answers["is-active"] = "active"
        inverse = CLUSTERS.plan(lab, fault)
        assert asked(lab) == []
        assert set(lab.machines.states.values()) == {"running"}
        log.record(inverse)
        assert log.pending()[0].inverse == inverse
        assert CLUSTERS.undo_command(inverse)

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.fault)
    def test_undoing_twice_is_harmless_and_leaves_the_lab_as_it_was(
        self, lab: FakeClusters, log: UndoLog, fault: Fault
    ) -> None:
        """After inject and undo: same numbers of pods, all nodes run, none cordoned, nothing isolated."""
        cluster = lab.clusters["ral"]
        cluster.enforcer = "calico-node"
        lab.machines.answers["is-active"] = "active"
        before = dict(cluster.workloads)
        record = CLUSTERS.inject(lab, log, fault)
        assert asked(lab) or [line for line in lab.machines.log if "is-active" not in line]
        CLUSTERS.undo(lab, log, record)
        CLUSTERS.undo(lab, log, record)
        CLUSTERS.undoers[record.inverse.kind].undo(lab, record.inverse, [])
        assert cluster.workloads == before
        assert set(lab.machines.states.values()) == {"running"}
        assert cluster.cordoned == set() == cluster.isolated
        assert log.pending() == []

    @pytest.mark.parametrize(
        "fault", [one for one in FAULTS if getattr(one, "target", "")], ids=lambda fault: fault.fault
    )
    def test_a_namespace_that_is_not_released_is_not_touched(
        self, lab: FakeClusters, log: UndoLog, fault: Fault
    ) -> None:
        """Without the label nothing is recorded and nothing asked for."""
        lab.clusters["ral"].allowed.remove(NAMESPACE)
        with pytest.raises(InjectionError, match="not released for chaos"):
            CLUSTERS.inject(lab, log, fault)
        assert asked(lab) == []
        assert log.pending() == []

    def test_what_fails_half_way_is_taken_back(
        self, lab: FakeClusters, log: UndoLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An eviction that is refused for good leaves no cordoned node behind."""

        def refuse(pod: object, grace: object) -> bool:
            raise InjectionError("the right to create pods/eviction is missing")

        cluster = lab.clusters["ral"]
        cluster.found = [pod.__class__(**{**vars(pod), "node": "ral-worker"}) for pod in cluster.found]
        monkeypatch.setattr(cluster, "evict", refuse)
        with pytest.raises(InjectionError, match="pods/eviction is missing"):
            CLUSTERS.inject(lab, log, kf.NodeDrain(node="ral/1"))
        assert cluster.cordoned == set()
        assert log.pending() == []

    def test_what_cannot_be_taken_back_stays_on_record(self, lab: FakeClusters, log: UndoLog) -> None:
        """While the API server is away the undo fails and is still pending; later it succeeds."""
        record = CLUSTERS.inject(lab, log, kf.ScaleToZero(target="iam@ral"))
        lab.clusters["ral"].reachable = False
        with pytest.raises(InjectionError, match="does not answer"):
            CLUSTERS.undo(lab, log, record)
        assert log.pending() == [record]
        lab.clusters["ral"].reachable = True
        CLUSTERS.undo(lab, log, record)
        assert log.pending() == []


class TestPods:
    """Faults on pods and their workloads."""

    def test_deleting_takes_all_pods_of_the_target_with_the_given_grace(
        self, lab: FakeClusters, log: UndoLog
    ) -> None:
        """One request for both; no other pod; a grace of None is the pods' own."""
        names = [pod.name for pod in lab.clusters["ral"].pods(NAMESPACE, "app=iam")]
        CLUSTERS.inject(lab, log, kf.PodDelete(target="iam@ral"))
        assert asked(lab) == [f"delete {','.join(sorted(names))} grace=None"]
        CLUSTERS.inject(lab, log, kf.PodDelete(target="db@ral/1", grace=0.0))
        assert asked(lab)[-1] == "delete db-1 grace=0"

    def test_a_killed_container_is_killed_at_once_and_alone(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """Only the target's process ends, the API server is not asked to change anything."""
        found = populate(lab, process)
        CLUSTERS.inject(lab, log, kf.ContainerKill(target="db@ral/0"))
        assert not is_alive(found["db-0"])
        assert is_alive(found["db-1"])
        assert asked(lab) == []

    def test_a_pod_whose_image_is_missing_cannot_be_killed(self, lab: FakeClusters, log: UndoLog) -> None:
        """The reason that Kubernetes gives is part of the message."""
        lab.ill("ral", "db-0", "ErrImageNeverPull")
        with pytest.raises(InjectionError, match=r"db-0 does not run \(ErrImageNeverPull\)"):
            CLUSTERS.inject(lab, log, kf.ContainerKill(target="db@ral/0"))

    def test_kill_is_a_crash_that_lasts(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """Processes first, then the workload is held at no pods; the undo gives it its number back."""
        found = populate(lab, process)
        record = CLUSTERS.inject(lab, log, Kill(target="db@ral"))
        assert not is_alive(found["db-0"])
        assert not is_alive(found["db-1"])
        assert is_alive(found["iam-1"])
        assert asked(lab)[0] == "scale db 0"
        assert lab.clusters["ral"].workloads[Workload("ral", NAMESPACE, "StatefulSet", "db")] == 0
        CLUSTERS.undo(lab, log, record)
        assert lab.clusters["ral"].workloads[Workload("ral", NAMESPACE, "StatefulSet", "db")] == 2

    def test_a_graceful_stop_leaves_the_ending_to_the_cluster(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """No signal from outside, no forced deletion."""
        found = populate(lab, process)
        CLUSTERS.inject(lab, log, Kill(target="iam@ral", signal="TERM"))
        assert all(is_alive(one) for one in found.values())
        assert asked(lab) == ["scale iam 0"]

    def test_one_pod_of_a_deployment_can_be_kept_down(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """It is marked as the one to go, and only it is killed."""
        found = populate(lab, process)
        doomed = lab.clusters["ral"].pods(NAMESPACE, "app=iam")[0].name
        kept = lab.clusters["ral"].pods(NAMESPACE, "app=iam")[1].name
        CLUSTERS.inject(lab, log, Kill(target="iam@ral/0"))
        assert asked(lab)[:2] == [f"prefer {doomed}", "scale iam 1"]
        assert not is_alive(found[doomed])
        assert is_alive(found[kept])

    def test_the_first_of_several_stateful_pods_cannot_be_kept_down_alone(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """Scaling down would take the last one: refused before anything is killed."""
        found = populate(lab, process)
        with pytest.raises(InjectionError, match="gives up its last pod first"):
            CLUSTERS.inject(lab, log, Kill(target="db@ral/0"))
        assert is_alive(found["db-0"])
        CLUSTERS.inject(lab, log, Kill(target="db@ral/1"))
        assert asked(lab)[:2] == ["prefer db-1", "scale db 1"]

    def test_an_overlapping_fault_keeps_the_workload_down(self, lab: FakeClusters, log: UndoLog) -> None:
        """Taking one back leaves alone what another still holds."""
        first = CLUSTERS.inject(lab, log, kf.ScaleToZero(target="iam@ral"))
        log.record(first.inverse)
        CLUSTERS.undo(lab, log, first)
        assert lab.clusters["ral"].workloads[Workload("ral", NAMESPACE, "Deployment", "iam")] == 0

    def test_pausing_stops_the_processes_of_the_containers(
        self, lab: FakeClusters, log: UndoLog, process: Callable[[], Process]
    ) -> None:
        """SIGSTOP from outside; the undo lets them go on."""
        from chaos.host.processes import is_stopped

        found = populate(lab, process)
        record = CLUSTERS.inject(lab, log, Pause(target="db@ral/0"))
        assert is_stopped(found["db-0"])
        assert not is_stopped(found["db-1"])
        CLUSTERS.undo(lab, log, record)
        deadline = time.monotonic() + 5
        while is_stopped(found["db-0"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_stopped(found["db-0"])

    def test_isolation_is_refused_where_nobody_enforces_policies(
        self, lab: FakeClusters, log: UndoLog
    ) -> None:
        """The object would be there and change nothing: an experiment would lie."""
        with pytest.raises(InjectionError, match="no network plugin at ral is known to enforce"):
            CLUSTERS.inject(lab, log, kf.NetworkIsolation(target="iam@ral"))
        lab.clusters["ral"].enforcer = "kindnet"
        CLUSTERS.inject(lab, log, kf.NetworkIsolation(target="iam@ral/0"))
        assert len(lab.clusters["ral"].isolated) == 1

    def test_the_gateway_is_deleted_without_grace(self, lab: FakeClusters, log: UndoLog) -> None:
        """And a site without one is an error."""
        name = lab.gateway("ral")[0].name
        CLUSTERS.inject(lab, log, kf.GatewayKill(site="ral"))
        assert asked(lab) == [f"delete {name} grace=0"]
        lab.clusters["cam"].found.clear()
        with pytest.raises(InjectionError, match="cam has no VPN gateway"):
            CLUSTERS.inject(lab, log, kf.GatewayKill(site="cam"))

    def test_coredns_needs_the_systems_namespace_to_be_released(
        self, lab: FakeClusters, log: UndoLog
    ) -> None:
        """It lives in kube-system, which counts like any other namespace."""
        CLUSTERS.inject(lab, log, kf.CorednsDown(site="ral"))
        assert asked(lab)[0] == "scale coredns 0"
        lab.clusters["cam"].allowed.remove("kube-system")
        with pytest.raises(InjectionError, match="kube-system"):
            CLUSTERS.inject(lab, log, kf.CorednsDown(site="cam"))


class TestNodes:
    """Faults on nodes and whole clusters."""

    @pytest.mark.parametrize("site", ["ral/3", "edi/0"])
    def test_a_node_that_is_not_there_is_an_error(self, lab: FakeClusters, log: UndoLog, site: str) -> None:
        """By number or by site."""
        with pytest.raises(InjectionError, match="there is no"):
            CLUSTERS.inject(lab, log, kf.NodeStop(node=site))

    def test_a_stopped_cluster_has_all_its_nodes_started_in_their_order(
        self, lab: FakeClusters, log: UndoLog
    ) -> None:
        """The engine gives addresses in the order of starts."""
        record = CLUSTERS.inject(lab, log, kf.ClusterStop(site="ral"))
        assert [lab.machines.state(node) for node in lab.machines.nodes("ral")] == ["exited"] * 3
        assert lab.machines.state("cam-control-plane") == "running"
        CLUSTERS.undo(lab, log, record)
        assert lab.machines.log[-1] == "running ral-control-plane,ral-worker,ral-worker2"

    @pytest.mark.parametrize(
        "fault",
        [kf.NodeStop(node="ral/1"), kf.NodePause(node="ral/1"), kf.KubeletStop(node="ral/1")],
        ids=lambda fault: fault.fault,
    )
    def test_what_is_down_already_cannot_be_broken(
        self, lab: FakeClusters, log: UndoLog, fault: Fault
    ) -> None:
        """Else its undo would repair what somebody else broke."""
        lab.machines.states["ral-worker"] = "exited"
        with pytest.raises(InjectionError, match="it is exited"):
            CLUSTERS.inject(lab, log, fault)
        assert log.pending() == []

    def test_a_node_that_somebody_cordoned_is_left_alone(self, lab: FakeClusters, log: UndoLog) -> None:
        """The undo would uncordon what was not ours."""
        lab.clusters["ral"].cordoned.add("ral-worker")
        with pytest.raises(InjectionError, match="cordoned already"):
            CLUSTERS.inject(lab, log, kf.NodeCordon(node="ral/1"))

    def test_a_drain_tries_again_what_a_budget_holds_back(
        self, lab: FakeClusters, log: UndoLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The injection returns at once; the pod goes when the budget allows it."""
        monkeypatch.setattr(node_drain, "RETRY", 0.05)
        cluster = lab.clusters["ral"]
        cluster.found = [
            pod.__class__(**{**vars(pod), "node": "ral-worker"})
            for pod in cluster.found
            if pod.labels["app"] == "iam"
        ]
        cluster.budget = 1
        record = CLUSTERS.inject(lab, log, kf.NodeDrain(node="ral/1", grace=3.0))
        assert len(cluster.found) == 1
        cluster.budget = 1
        deadline = time.monotonic() + 5
        while cluster.found and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cluster.found == []
        assert asked(lab)[-1].endswith("grace=3")
        CLUSTERS.undo(lab, log, record)
        assert cluster.cordoned == set()

    def test_the_undo_of_a_drain_ends_its_evictions(
        self, lab: FakeClusters, log: UndoLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was held back stays for good."""
        monkeypatch.setattr(node_drain, "RETRY", 0.05)
        cluster = lab.clusters["ral"]
        cluster.found = [pod.__class__(**{**vars(pod), "node": "ral-worker"}) for pod in cluster.found]
        cluster.budget = 0
        record = CLUSTERS.inject(lab, log, kf.NodeDrain(node="ral/1"))
        CLUSTERS.undo(lab, log, record)
        left = len(cluster.found)
        cluster.budget = 100
        time.sleep(0.2)
        assert len(cluster.found) == left

    def test_a_drain_leaves_alone_what_nothing_would_replace(self, lab: FakeClusters, log: UndoLog) -> None:
        """A pod without a controller would be gone for good; pods of DaemonSets and of the node stay."""
        cluster = lab.clusters["ral"]
        first, second, third, *_ = cluster.found
        on_node: dict[str, Any] = {"node": "ral-worker"}
        cluster.found = [
            first.__class__(**{**vars(first), **on_node, "owner": "DaemonSet"}),
            second.__class__(**{**vars(second), **on_node, "owner": "Node", "static": True}),
        ]
        CLUSTERS.inject(lab, log, kf.NodeDrain(node="ral/1"))
        assert len(cluster.found) == 2
        cluster.cordoned.clear()
        cluster.found.append(third.__class__(**{**vars(third), **on_node, "owner": ""}))
        with pytest.raises(InjectionError, match="it has no controller"):
            CLUSTERS.inject(lab, log, kf.NodeDrain(node="ral/1"))

    def test_the_manifest_comes_back_by_a_move(self, lab: FakeClusters, log: UndoLog) -> None:
        """Away and back are one `mv` each, on the control plane."""
        record = CLUSTERS.inject(lab, log, kf.ApiServerDown(site="ral"))
        assert any(
            line.startswith("ral-control-plane: sh -c test -e") and line.endswith("kube-apiserver.faultline")
            for line in lab.machines.log
        )
        CLUSTERS.undo(lab, log, record)
        back = [line for line in lab.machines.log if "! test -e" in line]
        assert back[-1].endswith(
            "/etc/kubernetes/kube-apiserver.faultline /etc/kubernetes/manifests/kube-apiserver.yaml"
        )


class TestReplay:
    """Undoing in a new process."""

    def test_an_inverse_without_a_kubeconfig_says_which_is_missing(self, tmp_path: Path) -> None:
        """The lab's directory holds them, by site."""
        inverse = Inverse("uncordon", {"site": "ral", "node": "n"})
        with pytest.raises(InjectionError, match="no kubeconfig of ral"):
            replay.replay(tmp_path, inverse, patience=0.0)

    def test_faults_that_repair_themselves_need_nothing(self, tmp_path: Path) -> None:
        """No cluster is asked."""
        inverse = Inverse("self-repair", {"site": "ral", "what": "x"})
        assert "by itself" in replay.replay(tmp_path, inverse)

    def test_every_inverse_is_plain_data(self, lab: FakeClusters) -> None:
        """It has to go through JSON to a process that knows nothing else."""
        lab.clusters["ral"].enforcer = "calico-node"
        lab.machines.answers["is-active"] = "active"
        for fault in FAULTS:
            inverse = CLUSTERS.plan(lab, fault)
            assert json.loads(json.dumps(inverse.args)) == inverse.args
            assert isinstance(Record(1, inverse, 0.0), Record)
