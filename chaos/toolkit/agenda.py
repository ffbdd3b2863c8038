"""Faults in force and the moments at which they are taken back, on any lab's clock.

One mechanism serves both kinds of clock. Whoever lets time pass goes through `sleep_until`. On a
virtual clock nothing else can pass time, so `sleep_until` stops at every due moment on the way and
takes back what is due. On a real clock time also passes where nobody asked (an action of another
provider that blocks), so a thread waits for the due moments, and `sleep_until` only sleeps.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass

from chaos.lab.base import Clock, Injected, Lab
from experiments.faults import Fault

PATIENCE = 1.0
"""Longest real wait in seconds of the thread before it looks at the clock again."""

TICK = 1e-6
"""Seconds within which two moments are the same: sums of floats are not exact."""


@dataclass
class Applied:
    """A fault as it was really carried out.

    Attributes:
        name: the activity's name.
        fault: what was asked for.
        wanted: when it should have come into force, in seconds since the load started; None for at once.
        at: when it came into force.
        due: when it is to be taken back; None means at the end of the load.
        undone: when it was taken back; None as long as it is in force.
    """

    name: str
    fault: Fault
    wanted: float | None
    at: float
    due: float | None
    injected: Injected
    undone: float | None = None


@dataclass(frozen=True)
class Failure:
    """A fault that could not be injected or taken back.

    Attributes:
        stage: `inject` or `undo`.
        name: the activity's name.
        message: what happened.
    """

    stage: str
    name: str
    message: str

    def __str__(self) -> str:
        """One line for people."""
        verb = "injected" if self.stage == "inject" else "taken back"
        return f"{self.name!r} could not be {verb}: {self.message}"


class Agenda:
    """Injects faults and takes each one back when it is due.

    Args:
        lab: where the faults are.
        progress: told (`inject` or `undo`, text) of everything that happens.
    """

    def __init__(self, lab: Lab, progress: Callable[[str, str], None]) -> None:
        self._lab = lab
        self._progress = progress
        self._due: list[tuple[float, int, Applied]] = []
        self._order = itertools.count()
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._open = True
        self.applied: list[Applied] = []
        self.failures: list[Failure] = []

    @property
    def _clock(self) -> Clock:
        return self._lab.clock

    @property
    def is_virtual(self) -> bool:
        """Whether time passes only while someone sleeps."""
        return bool(getattr(self._clock, "virtual", False))

    def sleep_until(self, at: float) -> None:
        """Let time pass until ``at`` (seconds since the load started); all that is due by then is undone."""
        while self.is_virtual:
            with self._changed:
                due = self._due[0][0] if self._due else at
                if due > at or not self._due:
                    break
                self._sleep(due)
                self._undo_due()
        self._sleep(at)
        with self._changed:
            self._undo_due()

    def inject(self, name: str, fault: Fault, at: float | None, duration: float | None) -> Applied:
        """Wait until ``at``, put ``fault`` in force and note when to take it back.

        Raises:
            chaos.errors.LabError: the lab could not; the failure is on record too.
        """
        if at is not None:
            self.sleep_until(at)
        with self._changed:
            self._undo_due()  # what ends now ends before this starts
            try:
                injected = self._lab.inject(fault)
            except Exception as error:
                self.failures.append(Failure("inject", name, str(error)))
                raise
            due = None if duration is None else injected.at + duration
            applied = Applied(name, fault, at, injected.at, due, injected)
            self.applied.append(applied)
            if due is not None:
                heapq.heappush(self._due, (due, next(self._order), applied))
                self._watch()
                self._changed.notify_all()
        until = "the end of the load" if due is None else f"{due:.1f}s"
        self._progress("inject", f"{name} at {injected.at:.1f}s, until {until}")
        return applied

    def heal_all(self) -> list[Applied]:
        """Take back every fault in force, the latest first; return what was taken back."""
        with self._changed:
            self._due.clear()
            open_faults = [applied for applied in reversed(self.applied) if applied.undone is None]
            for applied in open_faults:
                self._undo(applied)
            return open_faults

    def close(self) -> None:
        """Stop watching the clock."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * PATIENCE)

    def _sleep(self, until: float) -> None:
        left = until - self._clock.now()
        if left > 0:
            self._clock.sleep(left)

    def _undo_due(self) -> None:
        while self._due and self._due[0][0] <= self._clock.now() + TICK:
            _, _, applied = heapq.heappop(self._due)
            self._undo(applied)

    def _undo(self, applied: Applied) -> None:
        try:
            self._lab.undo(applied.injected)
        except Exception as error:  # the others must still be taken back
            self.failures.append(Failure("undo", applied.name, str(error)))
        else:
            applied.undone = self._clock.now()
            self._progress("undo", f"{applied.name} at {applied.undone:.1f}s")

    def _watch(self) -> None:
        if self._thread is None and not self.is_virtual:
            self._thread = threading.Thread(target=self._keep, name="faultline-undo", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        with self._changed:
            while self._open:
                self._undo_due()
                left = self._due[0][0] - self._clock.now() if self._due else PATIENCE
                self._changed.wait(timeout=min(max(left, 0.0), PATIENCE))
