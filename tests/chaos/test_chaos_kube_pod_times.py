"""How long clusters take to replace pods, measured on a cluster with a clock of its own."""

from __future__ import annotations

import os
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.errors import LabError
from chaos.faults.context import Component
from chaos.host.processes import Process
from chaos.kube.context import Pod
from chaos.measure import pods as measure
from chaos.measure.pods import Stopwatch, pod_times
from sim.calibration import Calibration, PodTimes
from sim.fitting import with_pod_times

TICKS = os.sysconf("SC_CLK_TCK")
WEB, DB = Component("web", "ral"), Component("db", "ral")


class Scripted:
    """A cluster in which every step takes a known time, and time passes only while somebody waits."""

    created, bound, began, ended, restart, ready = 0.1, 0.16, 0.9, 0.3, 0.8, 2.0

    def __init__(self) -> None:
        self.now = 1000.0
        self.history: dict[Component, list[tuple[float, str]]] = {
            one: [(0.0, f"{one.service}-a")] for one in (WEB, DB)
        }
        self.machines = SimpleNamespace(processes=self.processes)
        self.restarted_at: dict[str, float] = {}
        self.dead = False

    def clock(self) -> float:
        """Seconds since the machine was started."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def components(self) -> list[Component]:
        """Two of them."""
        return list(self.history)

    def actions(self, site: str) -> Any:
        """The API server."""
        assert site == "ral"
        return SimpleNamespace(delete_pods=self.delete)

    def delete(self, pods: list[Pod], grace: int | None) -> None:
        """The successor's story begins."""
        for history in self.history.values():
            if history[-1][1] == pods[0].uid:
                history.append((self.now, f"{pods[0].uid}+"))

    def pods(self, component: Component) -> list[Pod]:
        """The newest one, as far as it is."""
        since, uid = self.history[component][-1]
        age = self.now - since
        if since and age < self.created:
            return []
        runs = not since or age >= self.began + 0.4  # as late as a kubelet tells
        container = f"{uid}:2" if self.now >= self.restarted_at.get(uid, 1e9) else f"{uid}:1"
        if uid in self.restarted_at and self.now < self.restarted_at[uid]:
            container = ""
        return [
            Pod(
                uid,
                "faultline",
                uid,
                node="n" if not since or age >= self.bound else "",
                ready=age >= self.ready,
                containers=(container,) if runs and container and not (self.dead and since) else (),
            )
        ]

    def processes(self, containers: Collection[str]) -> list[Process]:
        """Those that live now."""
        found = []
        for container in containers:
            uid, _, number = container.partition(":")
            for history in self.history.values():
                for place, (since, name) in enumerate(history):
                    if name != uid:
                        continue
                    gone = history[place + 1][0] + self.ended if place + 1 < len(history) else 1e9
                    start = since + self.began if since else 1.0
                    start = self.restarted_at[uid] if number == "2" else start
                    if start <= self.now < gone:
                        found.append(Process(2, int(start * TICKS)))
        return found

    def kill(self, containers: list[str]) -> None:
        """A restart follows."""
        for container in containers:
            self.restarted_at[container.partition(":")[0]] = self.now + self.restart


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """One at rest."""
    found = Scripted()
    monkeypatch.setattr(measure, "kill", lambda context, containers: context.kill(containers))
    return found


def watch(cluster: Scripted) -> Stopwatch:
    """What measures it, by its own clock."""
    return Stopwatch(cast(Any, cluster), cluster.clock, cluster.sleep)


def test_times_come_out_as_they_are(cluster: Scripted) -> None:
    """Each part of a replacement is told apart, the kubelet's delay in reporting left out."""
    targets = {"stateless": "web@ral", "database": "db@ral"}
    found = pod_times(cast(Any, cluster), targets, 2, watch(cluster))
    look, tick = 2 * measure.LOOK, 2 / TICKS
    assert found["container"] == [pytest.approx(cluster.restart - measure.RELIST, abs=look + tick)]
    for name, expected in {
        "reaction": cluster.created,
        "schedule": cluster.bound - cluster.created,
        "sandbox": cluster.began - cluster.bound - found["container"][0],
        "stop": cluster.ended - cluster.created,
        "stop_db": cluster.ended - cluster.created,
    }.items():
        assert found[name] == [pytest.approx(expected, abs=2 * look + tick)] * 2, name


def test_a_pod_without_successor_is_an_error(cluster: Scripted) -> None:
    """When no successor runs in time the measurement says so instead of waiting for ever."""
    cluster.dead = True
    with pytest.raises(LabError, match="no successor of the pod web-a runs"):
        watch(cluster).replaced(lambda: cluster.pods(WEB), "ral")


def test_measured_times_join_the_calibration() -> None:
    """What was measured replaces the shipped values; all else, and what was not measured, stays."""
    base = Calibration.default()
    fitted = with_pod_times(base, {"sandbox": [1.0, 1.2, 1.1], "stop": []}, "measured here")
    assert fitted.pods is not None
    assert fitted.pods.sandbox.mean == pytest.approx(1.1)
    assert fitted.pods.stop == PodTimes().stop
    assert fitted.requests == base.requests
    assert fitted.source.endswith("; pods measured here")
    again = with_pod_times(fitted, {"stop": [0.2, 0.3]}, "measured again")
    assert again.pods is not None
    assert again.pods.sandbox == fitted.pods.sandbox
    assert again.source.count("; pods") == 1
    with pytest.raises(ValueError, match="has no sandbocks"):
        with_pod_times(base, {"sandbocks": [1.0]})
