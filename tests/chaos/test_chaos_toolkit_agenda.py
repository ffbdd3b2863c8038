"""Faults are taken back at their time on a real clock too, whatever else blocks the process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from chaos.lab.base import Injected, Lab
from chaos.toolkit.agenda import Agenda
from experiments.faults import Fault, Kill, Pause


class WallClock:
    """Real time since it was made."""

    def __init__(self) -> None:
        self._zero = time.monotonic()

    def now(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._zero

    def sleep(self, seconds: float) -> None:
        """Really sleep."""
        time.sleep(seconds)


@dataclass
class WallLab:
    """The part of a lab that an agenda uses, on a real clock."""

    clock: WallClock = field(default_factory=WallClock)
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    broken: str = ""

    def inject(self, fault: Fault) -> Injected:
        """Note it."""
        target = cast(Any, fault).target
        self.calls.append(("inject", target, self.clock.now()))
        return Injected(target, fault, self.clock.now())

    def undo(self, injected: Injected) -> None:
        """Note it, unless told to break."""
        if injected.id == self.broken:
            raise RuntimeError("the process does not come back")
        self.calls.append(("undo", injected.id, self.clock.now()))


def agenda_on(lab: WallLab) -> Agenda:
    """An agenda over the fake lab."""
    return Agenda(cast(Lab, lab), lambda stage, text: None)


def test_a_due_fault_is_undone_while_the_process_is_blocked_elsewhere() -> None:
    """Nobody calls the agenda between injection and undo, as under another provider's long action."""
    lab = WallLab()
    agenda = agenda_on(lab)
    agenda.inject("first", Kill(target="db@edi"), None, 0.2)
    agenda.inject("second", Pause(target="db@cam"), 0.1, 0.05)
    time.sleep(1.0)
    agenda.close()
    undone = {name: at for what, name, at in lab.calls if what == "undo"}
    assert undone == {"db@cam": pytest.approx(0.15, abs=0.5), "db@edi": pytest.approx(0.2, abs=0.5)}


def test_the_action_does_not_wait_for_the_undo() -> None:
    """`inject` returns when the fault is in force, not when it is over."""
    lab = WallLab()
    agenda = agenda_on(lab)
    agenda.inject("long", Kill(target="db@edi"), None, 30.0)
    assert lab.clock.now() < 1.0
    assert [applied.name for applied in agenda.heal_all()] == ["long"]
    agenda.close()


def test_sleeping_past_a_due_moment_leaves_it_undone_on_waking() -> None:
    """After `sleep_until` everything due by then has been taken back."""
    lab = WallLab()
    agenda = agenda_on(lab)
    applied = agenda.inject("short", Kill(target="db@edi"), None, 0.1)
    agenda.sleep_until(lab.clock.now() + 0.1)
    assert applied.undone is not None
    agenda.close()


def test_heal_all_takes_back_the_latest_first_and_only_once() -> None:
    """The order of undoing is the reverse of injecting; a second call finds nothing."""
    lab = WallLab()
    agenda = agenda_on(lab)
    agenda.inject("first", Kill(target="db@edi"), None, 60.0)
    agenda.inject("second", Kill(target="db@cam"), None, None)
    assert [applied.name for applied in agenda.heal_all()] == ["second", "first"]
    assert agenda.heal_all() == []
    agenda.close()


def test_one_undo_that_fails_does_not_keep_the_others_in_force() -> None:
    """The failure is on record and the rest is taken back."""
    lab = WallLab(broken="db@cam")
    agenda = agenda_on(lab)
    agenda.inject("first", Kill(target="db@edi"), None, None)
    agenda.inject("second", Kill(target="db@cam"), None, None)
    agenda.heal_all()
    agenda.close()
    assert [name for what, name, _ in lab.calls if what == "undo"] == ["db@edi"]
    assert [str(failure) for failure in agenda.failures] == [
        "'second' could not be taken back: the process does not come back"
    ]
