"""What labs on this machine share, whatever their sites are made of: clock, load, fault windows, observation.

Users, prober, relay and recorder are processes of this machine below the control group `faultline`; what
another process needs to know is in `state.json`.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from chaos import heal
from chaos.errors import LabError
from chaos.faults.registry import Registry
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.lab import generators
from chaos.lab.base import ComponentStatus, Endpoint, Injected, LabFacts
from chaos.lab.layout import lab_directory
from chaos.lab.state import LabState, Load, StateFile
from chaos.lock import LabLock
from chaos.measure import consistency, health, recorder
from chaos.measure.collectors import PERIOD, Seen
from chaos.undo import FILE_NAME as UNDO_FILE
from chaos.undo import UndoLog
from chaos.wan.links import Wan
from experiments.faults import Fault, Partition
from experiments.observation import REQUEST_COLUMNS, Event, Observation
from experiments.targets import grudge
from experiments.workload import Workload
from topologies.model import Topology

Progress = Callable[[str], None]


class LabClock:
    """Real time since the load started; monotonic, so that a clock step cannot bend a run."""

    def __init__(self) -> None:
        self._zero: float | None = None

    def start(self, t0: float) -> None:
        """Zero is UNIX time ``t0``."""
        self._zero = time.monotonic() + (t0 - time.time())

    def attach(self, t0: float) -> None:
        """Zero is ``t0``, unless this clock has already been started."""
        if self._zero is None:
            self.start(t0)

    def now(self) -> float:
        """Seconds since the load started; zero before any load."""
        return 0.0 if self._zero is None else time.monotonic() - self._zero

    def sleep(self, seconds: float) -> None:
        """Let real time pass."""
        if seconds > 0:
            time.sleep(seconds)


class HostLab(ABC):
    """The half of a lab that does not depend on how its sites run.

    A new object attaches itself to the lab that is up in its directory, whoever brought it up.

    Args:
        directory: of the lab's state; the default one when not given.
        progress: told in words what happens.
        seed: of the WAN's losses and jitters.
    """

    backend: ClassVar[str]
    """Its name."""

    faults: ClassVar[Registry]
    """What it can break."""

    has_relay: ClassVar[bool] = True
    """Whether the links between the sites are its own."""

    slowness: ClassVar[float] = 1.0
    """How much longer than on an idle machine users and probes take to get ready."""

    def __init__(
        self, directory: Path | None = None, *, progress: Progress | None = None, seed: int = 0
    ) -> None:
        self.directory = directory or lab_directory()
        self.clock = LabClock()
        self.progress: Progress = progress or (lambda text: None)
        self._seed = seed
        self._file = StateFile(self.directory)
        self._lock = LabLock(self.directory)
        self._holds = False
        self._wan_up: Wan | None = None
        self._cgroups_found: Cgroups | None = None
        self._audit: consistency.Found | None = None

    # ---------------------------------------------------------------- what each kind of lab does its own way

    def _make_wan(self, topology: Topology) -> Wan:
        """The network between the sites, not up yet."""
        return Wan(topology, self.directory, self._cgroups, self._seed)

    @abstractmethod
    def up(self, topology: Topology) -> None:
        """Start everything and return when the service answers at every site."""

    @abstractmethod
    def status(self) -> list[ComponentStatus]:
        """True state of every component."""

    @abstractmethod
    def endpoints(self) -> list[Endpoint]:
        """Addresses of every front end and service."""

    @abstractmethod
    def _targets(self) -> Any:
        """What faults may do to this lab: the context that `faults` takes."""

    @abstractmethod
    def _look_up(self, state: LabState, samples: pd.DataFrame) -> consistency.Found:
        """The consistency audit."""

    # ---------------------------------------------------------------- up and down

    def down(self, *, keep_logs: bool = False) -> None:
        """Stop and remove everything of the lab; safe to call twice and on a half-built lab.

        Args:
            keep_logs: leave log files in the lab's directory.

        Raises:
            LabError: something is left; the message says what.
        """
        with self._file.guard:
            try:
                heal.heal(self.directory, keep_logs=keep_logs)
            finally:
                self._file.forget()
                self._wan_up = None
                if self._holds:
                    self._lock.release()
                    self._holds = False

    def detach(self) -> None:
        """Leave the lab up when this process ends (`faultline lab up`); its recorder keeps the lock.

        Raises:
            LabError: no lab is up, or another process brought it up.
        """
        state = self._required()
        if not self._holds or state.recorder is None:
            raise LabError("only the process that brought the lab up can leave it standing")
        self._lock.hand_over(state.recorder)
        self._holds = False

    def facts(self) -> LabFacts:
        """What the lab is made of: versions, WireGuard and relay, quotas, hashes of all configurations."""
        return LabFacts(self.backend, dict(self._required().facts))

    # ---------------------------------------------------------------- load

    def start_load(self, workload: Workload, seed: int) -> None:
        """Start users and probes; returns at the clock's zero.

        Raises:
            LabError: a load runs already, or the generators do not get ready.
        """
        state = self._required()
        if state.load is not None and any(processes.is_alive(one) for one in state.load.processes):
            raise LabError("a load runs already: stop it first")
        directory = self.directory / "load"
        found = self._generators(state, workload, seed, 0.0, directory)
        t0 = time.time() + self.slowness * generators.lead(len(found))
        found = self._generators(state, workload, seed, t0, directory)
        started = generators.start(found, directory, self._cgroups)
        load = Load(
            t0=t0,
            workload=workload.model_dump(mode="json"),
            seed=seed,
            samples=tuple(Path(one.plan.out) for one in found),
            processes=tuple(started),
        )
        self._audit = None
        self._file.update(lambda state: replace(state, load=load, windows=()))
        self.clock.start(t0)
        try:
            generators.await_ready(found, started, t0)
        except LabError:
            self.stop_load()
            raise
        self.clock.sleep(-self.clock.now())

    def _generators(
        self, state: LabState, workload: Workload, seed: int, t0: float, directory: Path
    ) -> list[generators.Generator]:
        """Who will ask the service."""
        return generators.generators(state.topology, state.layout, workload, seed, t0, directory)

    def stop_load(self) -> None:
        """Stop users and probes that are still running."""
        state = self._attached()
        if state is not None and state.load is not None:
            processes.stop_all(state.load.processes, grace=self._workload(state).timeout + 2.0)

    @staticmethod
    def _workload(state: LabState) -> Workload:
        assert state.load is not None
        return Workload.model_validate(dict(state.load.workload))

    def samples(self, since: float) -> pd.DataFrame:
        """Requests that ended at or after ``since``, while the load runs."""
        state = self._required()
        frame = generators.read_samples(state.load.samples if state.load else ())
        ended = frame["start"] + frame["latency"] >= since
        return frame.loc[ended, list(REQUEST_COLUMNS)].reset_index(drop=True)

    # ---------------------------------------------------------------- faults

    def inject(self, fault: Fault) -> Injected:
        """Put ``fault`` in force; its inverse is on disk before anything is touched.

        Raises:
            InjectionError: it names a missing target or could not be applied.
        """
        with self._file.guard:
            topology = self._required().topology
            record = self.faults.inject(self._targets(), self._undo_log(), fault)
            # The moment before anything was touched: what an API server is asked for takes its time, and
            # the first consequences are seen before the last answer.
            now = record.at
            self._note(Seen(now, "experiment", "fault.inject", _spell(fault)))
            self._note_links(_links_cut(fault, topology), now, "link.cut")
            name = str(record.id)
            self._file.update(lambda state: replace(state, windows=(*state.windows, (name, now, None))))
            return Injected(name, fault, self.clock.now() - (time.time() - now))

    def undo(self, injected: Injected) -> None:
        """Take ``injected`` back; harmless when it is already gone.

        Raises:
            InjectionError: it cannot be taken back; its record stays in the undo log.
        """
        with self._file.guard:
            topology = self._required().topology
            log = self._undo_log()
            record = next((one for one in log.pending() if str(one.id) == injected.id), None)
            if record is None:
                return
            now = time.time()
            self.faults.undo(self._targets(), log, record)
            self._note(Seen(now, "experiment", "fault.undo", _spell(injected.fault)))
            self._note_links(_links_cut(injected.fault, topology), now, "link.healed")
            self._file.update(
                lambda state: replace(
                    state,
                    windows=tuple(
                        (name, begin, now if name == injected.id else end)
                        for name, begin, end in state.windows
                    ),
                )
            )

    def _undo_log(self) -> UndoLog:
        return UndoLog(self.directory / UNDO_FILE)

    def _note(self, event: Seen) -> None:
        # Appended in one write, as the recorder does: lines of two processes do not mix.
        with (self.directory / recorder.EVENTS_FILE).open("a") as file:
            file.write(json.dumps(asdict(event)) + "\n")

    def _note_links(self, links: Iterable[str], now: float, kind: str) -> None:
        for link in links:
            self._note(Seen(now, link, kind))

    # ---------------------------------------------------------------- what was seen

    def events(self) -> list[Event]:
        """Component events seen so far, ordered by time; negative times lie before the load."""
        state = self._attached()
        if state is None:
            return []
        zero = state.load.t0 if state.load else time.time()
        return [
            Event(round(seen.time - zero, 6), seen.component, seen.kind, seen.detail)
            for seen in recorder.read_events(self.directory)
        ]

    def observe(self) -> Observation:
        """Everything seen, audit included. Call after `stop_load`, with all faults undone.

        Raises:
            LabError: no load has run.
        """
        state = self._required()
        if state.load is None:
            raise LabError("nothing to observe: no load has run in this lab")
        workload = self._workload(state)
        frame = generators.read_samples(state.load.samples)
        if self._audit is None:
            self._audit = self._look_up(state, frame)
            for name, why in self._audit.silence.items():
                self.progress(f"{name} could not be asked for its writes: {why}")
        found = health.summarise(
            health.read_samples(
                self.directory / recorder.HEALTH_FILE,
                state.load.t0,
                state.load.t0 + workload.duration + 1.0,
            ),
            frame.loc[frame["source"] == "probe", "lateness"].tolist(),
            relayed=self.has_relay,
        )
        finding = health.verdict(found)
        end = workload.duration
        inside = frame["start"].between(0.0, end)
        return Observation(
            requests=frame.loc[inside, list(REQUEST_COLUMNS)].reset_index(drop=True),
            events=tuple(event for event in self.events() if event.at >= 0.0),
            audit=self._audit.audit,
            duration=end,
            warmup=workload.warmup,
            windows=tuple(
                (begin - state.load.t0, end if over is None else over - state.load.t0)
                for _, begin, over in state.windows
            ),
            extra={
                "backend": self.backend,
                "event_resolution": PERIOD,
                "health": found.data(),
                "disturbed": finding.disturbed,
                "disturbances": list(finding.reasons),
                "consistency": self._audit.data(),
                "facts": dict(state.facts),
                "seed": state.load.seed,
                **self._about(),
            },
        )

    def _about(self) -> dict[str, Any]:
        """What else belongs into the extras of an observation, or is otherwise there."""
        return {}

    # ---------------------------------------------------------------- state

    @property
    def _cgroups(self) -> Cgroups:
        if self._cgroups_found is None:
            self._cgroups_found = Cgroups()
        return self._cgroups_found

    @property
    def _wan(self) -> Wan:
        if self._wan_up is None:
            self._wan_up = self._make_wan(self._file.require().topology)
        return self._wan_up

    def _attached(self) -> LabState | None:
        """The lab's state; the clock of a load that another process started is taken over."""
        state = self._file.get()
        if state is not None and state.load is not None:
            self.clock.attach(state.load.t0)
        return state

    def _required(self) -> LabState:
        return self._attached() or self._file.require()


def _links_cut(fault: Fault, topology: Topology) -> list[str]:
    """Names of the links that a fault cuts in at least one direction."""
    if not isinstance(fault, Partition):
        return []
    deaf = grudge(fault, topology)
    return [
        f"{a}-{b}"
        for a, b in (link.between for link in topology.links)
        if a in deaf.get(b, ()) or b in deaf.get(a, ())
    ]


def _spell(fault: Fault) -> str:
    return json.dumps(fault.model_dump(mode="json", exclude_none=True), sort_keys=True)
