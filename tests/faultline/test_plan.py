"""What `faultline plan` says of faults, with and without clusters."""

from __future__ import annotations

from typing import Any

import pytest

from experiments import kubernetes_faults as kf
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from faultline import plan, plan_kubernetes, plan_targets
from topologies.loader import load

THREE = load("iris-3site-galera", size="lab")
SPARE = load("iris-2site-kubernetes", size="lab")


@pytest.mark.parametrize(
    ("target", "touched", "told"),
    [
        ("db@ral", ["db@ral/0", "db@ral/1"], "db: 1 of 3 members stay and lose the majority"),
        ("db@ral/1", ["db@ral/1"], "db: 2 of 3 members stay and keep the majority"),
        ("iam@ral/0", ["iam@ral/0"], "iam: 1 of 2 replicas at ral"),
        ("cache@ral", ["cache@ral"], "cache: its primary, so the sentinels must elect another"),
        ("web@cam", ["web@cam"], "users at cam (cam-users) have it nearest"),
    ],
)
def test_a_component_is_planned_alike_whatever_takes_it_away(
    target: str, touched: list[str], told: str
) -> None:
    """What it touches and reaches does not depend on whether a process or a pod ends."""
    assert plan_targets.touched(target, SPARE) == touched
    assert told in plan_targets.reach(target, SPARE)
    gone: list[Fault] = [Kill(target=target), Pause(target=target), kf.PodDelete(target=target)]
    reached: list[list[str]] = [plan._reach(fault, SPARE) for fault in gone]
    assert reached == [reached[0]] * len(gone)
    assert {tuple(plan._touches(fault, SPARE)) for fault in gone} == {tuple(touched)}


def test_an_isolation_says_what_it_takes() -> None:
    """Before anything runs: a policy that nobody enforces would change nothing."""
    told = plan._reach(kf.NetworkIsolation(target="iam@ral/0"), SPARE)
    assert "iam: 1 of 2 replicas at ral" in told
    assert any("enforces NetworkPolicies" in line and "refused" in line for line in told)


@pytest.mark.parametrize(
    "fault",
    [
        kf.PodDelete(target="iam@ral/0", grace=0.0),
        kf.ContainerKill(target="db@cam"),
        kf.ScaleToZero(target="iam@cam"),
        kf.RollingRestart(target="db@ral"),
        kf.NodeCordon(node="ral/1"),
        kf.NodeDrain(node="ral/1", grace=5.0),
        kf.NodeStop(node="ral/1"),
        kf.NodePause(node="ral/0"),
        kf.KubeletStop(node="ral/1"),
        kf.ClusterStop(site="cam"),
        kf.ApiServerDown(site="cam"),
        kf.GatewayKill(site="ral"),
        kf.NetworkIsolation(target="db@cam"),
        kf.CorednsDown(site="ral"),
    ],
    ids=lambda fault: fault.fault,
)
def test_every_fault_of_clusters_has_words(fault: Any) -> None:
    """What is broken, what that touches, and what takes it back; the place is named."""
    assert plan_kubernetes.touches(fault, SPARE)
    assert fault.cluster in plan_kubernetes.what(fault)
    assert plan_kubernetes.undo(fault)


def test_a_cut_says_which_members_keep_the_majority() -> None:
    """Per group of sites that still hear one another."""
    told = plan._reach(Partition(isolate=["edi"]), THREE)
    assert "sites that still hear one another: cam, ral | edi" in told
    assert "db: 2 of 3 members (cam, ral) keep the majority" in told
    assert "db: 1 of 3 members (edi) lose the majority" in told


def test_a_degraded_link_is_spelled_with_its_units() -> None:
    """As a user would write them."""
    said = plan._what(Degrade(between=("ral", "cam"), rtt=0.3, loss=0.02))
    assert said == "link ral-cam: RTT 300ms, loss 2%"
