"""Fault drivers against a lab of small processes and a network that only keeps books."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wan_topologies import line, triangle

from chaos.errors import InjectionError, LabError
from chaos.faults import registry
from chaos.faults.context import Component, Inverse, Pair, PathClass, resolve
from chaos.faults.partition import cuts_of, grudge_of
from chaos.host import processes
from chaos.host.processes import Process
from chaos.undo import UndoLog
from chaos.wan.plan import DNS, plan
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from topologies.model import Topology

SITES = ("ral", "cam", "edi")


class Books:
    """A network that notes what is done to it, and can be told to fail."""

    def __init__(self, topology: Topology) -> None:
        """Use the routes of ``topology``."""
        self._plan = plan(topology, Path("/nowhere"))
        self.cuts: dict[str, tuple[set[Pair], PathClass]] = {}
        self.degraded: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.broken = False

    def sites(self) -> Sequence[str]:
        """Sites."""
        return self._plan.sites

    def places(self) -> Sequence[str]:
        """Sites and the DNS balancer."""
        return (*self._plan.sites, DNS)

    def has_link(self, a: str, b: str) -> bool:
        """Whether there is a direct link."""
        return self._plan.link_index(a, b) is not None

    def route(self, a: str, b: str) -> Sequence[str]:
        """The route."""
        return self._plan.route(a, b)

    def cut(self, name: str, pairs: Collection[Pair], path: PathClass) -> None:
        """Note a cut; fail after half of it when broken."""
        self.cuts[name] = (set(list(pairs)[: len(pairs) // 2] if self.broken else pairs), path)
        if self.broken:
            raise LabError("the relay does not answer")

    def heal(self, name: str | None = None) -> None:
        """Forget a cut."""
        self.cuts.pop(name or "", None)

    def degrade(self, name: str, a: str, b: str, **values: float | None) -> None:
        """Note a degradation."""
        self.degraded[name] = (a, b, values)

    def restore(self, name: str | None = None) -> None:
        """Forget a degradation."""
        self.degraded.pop(name or "", None)


class SmallLab:
    """Components that are `sleep` processes, and a network that keeps books."""

    def __init__(self, topology: Topology | None = None) -> None:
        """Start one database per site and two identity services at ral."""
        self.wan = Books(topology or triangle())
        self.running: dict[Component, list[subprocess.Popen[bytes]]] = {}
        self.restarted: list[Component] = []
        self.unable: set[Component] = set()
        for component in (
            *(Component("db", s) for s in SITES),
            *(Component("iam", "ral", n) for n in (0, 1)),
        ):
            self.running[component] = [self._new(), self._new()]

    @staticmethod
    def _new() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "300"])

    def components(self) -> Sequence[Component]:
        """All of them."""
        return list(self.running)

    def processes(self, component: Component) -> Sequence[Process]:
        """Those that live."""
        found = [Process.of(child.pid) for child in self.running[component] if child.poll() is None]
        return [process for process in found if process is not None and processes.is_alive(process)]

    def restart(self, component: Component) -> None:
        """Start two new processes."""
        if component in self.unable:
            raise LabError("it does not come up")
        assert not self.processes(component)
        self.restarted.append(component)
        self.running[component] = [self._new(), self._new()]

    def stopped(self, component: Component) -> bool:
        """Whether all processes of the component stand still."""
        return all(processes.is_stopped(process) for process in self.processes(component))

    def close(self) -> None:
        """End everything."""
        for children in self.running.values():
            for child in children:
                child.kill()
                child.wait()


@pytest.fixture
def lab() -> Iterator[SmallLab]:
    """A small lab."""
    small = SmallLab()
    yield small
    small.close()


@pytest.fixture
def log(tmp_path: Path) -> UndoLog:
    """An empty undo log."""
    return UndoLog(tmp_path / "undo.jsonl")


EDI = Component("db", "edi")


class TestTargets:
    """`service@site[/index]` names components."""

    known = (Component("db", "ral"), Component("iam", "ral", 0), Component("iam", "ral", 1))

    def test_without_an_index_all_at_the_site(self) -> None:
        """With one, that one."""
        assert resolve("iam@ral", self.known) == [Component("iam", "ral", 0), Component("iam", "ral", 1)]
        assert resolve("iam@ral/1", self.known) == [Component("iam", "ral", 1)]

    @pytest.mark.parametrize("target", ["iam@edi", "iam@ral/2", "cache@ral", "iam", "", "iam@ral/x"])
    def test_a_missing_target_lists_the_known_ones(self, target: str) -> None:
        """Each the way it would be written."""
        with pytest.raises(InjectionError, match=r"write one of db@ral, iam@ral/0, iam@ral/1"):
            resolve(target, self.known)


class TestKill:
    """Processes end at once; undo starts the component again."""

    def test_all_processes_end_before_inject_returns(self, lab: SmallLab, log: UndoLog) -> None:
        """Other components go on."""
        record = registry.inject(lab, log, Kill(target="db@edi"))
        assert lab.processes(EDI) == []
        assert len(lab.processes(Component("db", "ral"))) == 2
        registry.undo(lab, log, record)
        assert lab.restarted == [EDI]
        assert len(lab.processes(EDI)) == 2
        assert log.pending() == []

    def test_term_lets_it_finish_and_undo_waits_for_that(self, lab: SmallLab, log: UndoLog) -> None:
        """Two servers on one data directory would fight."""
        slow = subprocess.Popen(
            [
                "python3",
                "-c",
                "import signal,time;signal.signal(15,lambda *a:(time.sleep(.5),exit()));time.sleep(60)",
            ]
        )
        time.sleep(0.3)
        lab.running[EDI].append(slow)
        record = registry.inject(lab, log, Kill(target="db@edi", signal="TERM"))
        assert slow.poll() is None
        registry.undo(lab, log, record)  # `restart` asserts that nothing runs any more
        assert lab.restarted == [EDI]

    def test_what_is_down_cannot_be_killed(self, lab: SmallLab, log: UndoLog) -> None:
        """A fault that does nothing would be measured as one."""
        for child in lab.running[EDI]:
            child.kill()
            child.wait()
        with pytest.raises(InjectionError, match="db@edi/0: it is not running"):
            registry.inject(lab, log, Kill(target="db@edi"))
        assert not log.path.exists()

    def test_a_failed_restart_stays_pending(self, lab: SmallLab, log: UndoLog) -> None:
        """And can be tried again."""
        record = registry.inject(lab, log, Kill(target="iam@ral"))
        lab.unable = {Component("iam", "ral", 1)}
        with pytest.raises(InjectionError, match="could not restart iam@ral/1: it does not come up"):
            registry.undo(lab, log, record)
        assert [one.id for one in log.pending()] == [record.id]
        lab.unable = set()
        registry.undo(lab, log, record)
        assert log.pending() == []


class TestPause:
    """Processes stand still and go on."""

    def test_inject_returns_when_all_stand_still(self, lab: SmallLab, log: UndoLog) -> None:
        """Undo lets them run; twice is harmless."""
        record = registry.inject(lab, log, Pause(target="iam@ral/0"))
        assert lab.stopped(Component("iam", "ral", 0))
        assert not lab.stopped(Component("iam", "ral", 1))
        registry.undo(lab, log, record)
        registry.undo(lab, log, record)
        assert not lab.stopped(Component("iam", "ral", 0))

    def test_overlapping_pauses_need_both_undos(self, lab: SmallLab, log: UndoLog) -> None:
        """One on the whole service, one on one of its instances, taken back in any order."""
        whole = registry.inject(lab, log, Pause(target="iam@ral"))
        one = registry.inject(lab, log, Pause(target="iam@ral/1"))
        registry.undo(lab, log, whole)
        assert not lab.stopped(Component("iam", "ral", 0))
        assert lab.stopped(Component("iam", "ral", 1))
        registry.undo(lab, log, one)
        assert not lab.stopped(Component("iam", "ral", 1))

    def test_a_component_killed_while_paused_is_restarted_once(self, lab: SmallLab, log: UndoLog) -> None:
        """The undo of the pause finds nobody to continue."""
        pause = registry.inject(lab, log, Pause(target="db@edi"))
        kill = registry.inject(lab, log, Kill(target="db@edi"))
        registry.undo(lab, log, pause)
        assert lab.restarted == []
        registry.undo(lab, log, kill)
        assert lab.restarted == [EDI]

    def test_its_record_can_be_replayed_without_the_lab(self, lab: SmallLab, log: UndoLog) -> None:
        """Pids with start times are in it, on disk before the first SIGSTOP."""
        registry.inject(lab, log, Pause(target="db@edi"))
        recorded = {Process(*data) for data in UndoLog(log.path).pending()[0].inverse.args["processes"]}
        assert recorded == set(lab.processes(EDI))


class TestPartition:
    """A grudge becomes cuts, under the fault's own name."""

    def test_isolation_cuts_both_directions(self, lab: SmallLab, log: UndoLog) -> None:
        """From every other site; the undo heals that cut and no other."""
        first = registry.inject(lab, log, Partition(isolate=["edi"]))
        second = registry.inject(lab, log, Partition(between=("ral", "cam"), path="all"))
        assert set(lab.wan.cuts) == {"fault-1", "fault-2"}
        pairs, path = lab.wan.cuts["fault-1"]
        between_sites = {pair for pair in pairs if DNS not in pair}
        assert between_sites == {("edi", "ral"), ("ral", "edi"), ("edi", "cam"), ("cam", "edi")}
        assert path == "vpn"
        assert lab.wan.cuts["fault-2"] == ({("ral", "cam"), ("cam", "ral")}, "all")
        registry.undo(lab, log, first)
        assert set(lab.wan.cuts) == {"fault-2"}
        registry.undo(lab, log, second)
        assert lab.wan.cuts == {}

    def test_a_grudge_is_one_direction(self) -> None:
        """Who snubs does not receive; the snubbed one does."""
        grudge = grudge_of(Partition(grudge={"ral": ["cam", "edi"]}), SITES, SITES)
        assert cuts_of(grudge) == [("cam", "ral"), ("edi", "ral")]

    @given(st.sets(st.sampled_from(SITES), min_size=1, max_size=2))
    def test_isolating_a_side_or_the_other_cuts_the_same(self, inside: set[str]) -> None:
        """Among sites alone a partition has no inside, and cuts are symmetric."""
        one = cuts_of(grudge_of(Partition(isolate=sorted(inside)), SITES, SITES))
        other = cuts_of(grudge_of(Partition(isolate=sorted(set(SITES) - inside)), SITES, SITES))
        assert one == other
        assert {(b, a) for a, b in one} == set(one)
        assert all((a in inside) != (b in inside) for a, b in one)

    def test_what_runs_over_a_cut_link_is_cut_too(self, log: UndoLog) -> None:
        """In a row the ends lose each other with the middle's link; the other link stays."""
        lab = SmallLab(line())
        try:
            registry.inject(lab, log, Partition(between=("cam", "edi"), path="all"))
            pairs, _ = lab.wan.cuts["fault-1"]
            assert pairs == {("cam", "edi"), ("edi", "cam"), ("ral", "edi"), ("edi", "ral")}
            with pytest.raises(InjectionError, match="no link of their own: cut a link of edi-cam-ral"):
                registry.inject(lab, log, Partition(between=("ral", "edi")))
        finally:
            lab.close()

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (Partition(isolate=["mars"]), "there is no site mars; the topology has ral, cam, edi"),
            (Partition(grudge={"ral": ["mars"]}), "there is no site mars"),
            (Partition(grudge={"ral": ["ral"]}), "ral cannot snub itself"),
            (Partition(grudge={"ral": []}), "cuts nothing"),
        ],
    )
    def test_nonsense_is_refused_before_anything_is_touched(
        self, lab: SmallLab, log: UndoLog, fault: Fault, message: str
    ) -> None:
        """With what to write instead; nothing is recorded."""
        with pytest.raises(InjectionError, match=message):
            registry.inject(lab, log, fault)
        assert lab.wan.cuts == {}
        assert not log.path.exists()


class TestDegrade:
    """A link gets worse under the fault's own name."""

    def test_only_what_is_given_changes(self, lab: SmallLab, log: UndoLog) -> None:
        """And the undo restores that."""
        record = registry.inject(lab, log, Degrade(between=("ral", "cam"), rtt=0.2))
        expected = {"rtt": 0.2, "jitter": None, "loss": None, "bandwidth": None}
        assert lab.wan.degraded == {"fault-1": ("ral", "cam", expected)}
        registry.undo(lab, log, record)
        assert lab.wan.degraded == {}

    def test_it_needs_a_link(self, log: UndoLog) -> None:
        """Between sites without one it is not clear which is meant."""
        lab = SmallLab(line())
        try:
            with pytest.raises(InjectionError, match="have no link of their own"):
                registry.inject(lab, log, Degrade(between=("ral", "edi"), rtt=0.2))
            with pytest.raises(InjectionError, match="there is no site mars"):
                registry.inject(lab, log, Degrade(between=("ral", "mars"), rtt=0.2))
        finally:
            lab.close()


class TestOrder:
    """The inverse is on disk before the fault, and a fault is whole or not there."""

    def test_the_inverse_is_recorded_before_the_first_touch(
        self, lab: SmallLab, log: UndoLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Seen at the moment of the first signal."""
        seen: list[list[Inverse]] = []
        send = processes.send

        def watching(process: Process, number: int) -> bool:
            seen.append([record.inverse for record in UndoLog(log.path).pending()])
            return send(process, number)

        monkeypatch.setattr(processes, "send", watching)
        registry.inject(lab, log, Kill(target="db@edi"))
        assert seen[0] == [Inverse("restart", {"components": [["db", "edi", 0]]})]

    def test_an_undo_log_that_cannot_be_written_stops_the_fault(self, lab: SmallLab, tmp_path: Path) -> None:
        """Nothing is touched."""
        with pytest.raises(LabError, match="cannot write the undo log"):
            registry.inject(lab, UndoLog(tmp_path / "missing" / "undo.jsonl"), Kill(target="db@edi"))
        assert len(lab.processes(EDI)) == 2

    def test_half_a_fault_is_taken_back(self, lab: SmallLab, log: UndoLog) -> None:
        """The relay failed in the middle: the cut is healed and nothing stays pending."""
        lab.wan.broken = True
        with pytest.raises(InjectionError, match="could not partition: the relay does not answer"):
            registry.inject(lab, log, Partition(isolate=["edi"]))
        assert lab.wan.cuts == {}
        assert log.pending() == []

    def test_every_fault_has_a_driver_and_every_inverse_an_undoer(self, lab: SmallLab) -> None:
        """And each plan can be said in words."""
        faults: list[Fault] = [
            Kill(target="db@edi"),
            Pause(target="iam@ral"),
            Partition(isolate=["edi"]),
            Degrade(between=("ral", "cam"), loss=0.1),
        ]
        assert {fault.fault for fault in faults} == set(registry.DRIVERS)
        plans = [registry.plan(lab, fault) for fault in faults]
        assert {inverse.kind for inverse in plans} == set(registry.UNDOERS)
        assert registry.undo_command(plans[0]) == "start db@edi/0 again"
        assert registry.undo_command(plans[1]) == "continue iam@ral/0, iam@ral/1"
        assert registry.undo_command(plans[2]) == "heal the cut"
        assert registry.undo_command(plans[3]) == "restore the link"


def test_signals_reach_only_recorded_processes(lab: SmallLab, log: UndoLog) -> None:
    """A process that was stopped by somebody else stays stopped."""
    other = Component("iam", "ral", 1)
    os.kill(lab.running[other][0].pid, signal.SIGSTOP)
    record = registry.inject(lab, log, Pause(target="iam@ral/0"))
    registry.undo(lab, log, record)
    process = Process.of(lab.running[other][0].pid)
    assert process is not None
    assert processes.is_stopped(process)
