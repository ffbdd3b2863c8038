"""The reference engine: a Program run on SimPy, step by step if one likes.

`Simulation` can be stopped at any virtual time, disturbed and asked; `predict` runs it to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import TypeAdapter

from experiments.faults import Fault, ScheduledFault
from experiments.observation import KUBERNETES, Audit, Event, Observation
from experiments.workload import Workload
from sim.calibration import Calibration
from sim.engine import faults
from sim.engine.database import is_member
from sim.engine.deployment import Deployment
from sim.engine.world import Daemon
from sim.program import Platform, Program, Size, compile_program
from topologies.model import Topology

State = Literal["up", "down", "paused", "unknown"]

_OPEN = frozenset(
    {"conflict", "server-error", "bad-gateway", "gateway-timeout", "timeout", "refused", "other"}
)
"""Outcomes after which a write may have been committed: 401 and 503 come before anything is written."""


class Simulation:
    """One run of one program.

    Args:
        calibration: demands; the shipped ones by default.
        size: see `sim.program.compile_program`.
        platform: likewise.
    """

    def __init__(
        self,
        calibration: Calibration | None = None,
        size: Size = "lab",
        platform: Platform | None = None,
    ) -> None:
        self._calibration = calibration
        self._size = size
        self._platform = platform
        self._deployment: Deployment | None = None
        self._undo: dict[str, faults.Undo] = {}
        self._windows: dict[str, tuple[float, float | None]] = {}

    @classmethod
    def of(cls, program: Program, seed: int) -> Self:
        """A simulation of ``program`` at t = 0, with its own timeline of faults scheduled."""
        simulation = cls()
        simulation._open(program, seed)
        return simulation

    def start(self, topology: Topology, workload: Workload, seed: int) -> None:
        """Build the model in its steady, fault-free state and put users and probes at t = 0."""
        program = compile_program(
            topology, workload, (), self._calibration, size=self._size, platform=self._platform
        )
        self._open(program, seed)

    def _open(self, program: Program, seed: int) -> None:
        self._deployment = Deployment(program, seed)
        self._undo.clear()
        self._windows.clear()
        for data in program.faults:
            scheduled = TypeAdapter(ScheduledFault).validate_python(data)
            self._deployment.world.at(
                scheduled.at,
                lambda scheduled=scheduled: self._carry_out(scheduled),  # type: ignore[misc]
            )

    def _carry_out(self, scheduled: ScheduledFault) -> None:
        number = self.inject(scheduled.fault)
        if scheduled.duration is not None:
            self._running.world.at(scheduled.duration, lambda: self.undo(number))

    @property
    def _running(self) -> Deployment:
        if self._deployment is None:
            raise RuntimeError("the simulation has not been started: call start() first")
        return self._deployment

    @property
    def now(self) -> float:
        """Virtual seconds since the load started."""
        return float(self._running.world.env.now)

    def run_until(self, at: float) -> None:
        """Carry out everything that happens before or at ``at`` (seconds)."""
        env = self._running.world.env
        step, peek = env.step, env.peek
        while peek() <= at:
            step()
        if at > env.now:
            env.run(until=at)

    def inject(self, fault: Fault) -> str:
        """Put ``fault`` in force now and return an id for `undo`.

        Raises:
            ValueError: it names something that is not in the topology.
        """
        deployment = self._running
        undo = faults.inject(deployment, fault)
        number = f"f{len(self._windows) + 1}"
        self._undo[number] = undo
        self._windows[number] = (self.now, None)
        # The vocabulary puts the experiment's own events before their consequences.
        events = deployment.world.recorder.events
        position = len(events)
        while position and events[position - 1].at == self.now:
            position -= 1
        events.insert(position, Event(self.now, "experiment", "fault.inject", describe(fault)))
        return number

    def undo(self, fault_id: str) -> None:
        """Take a fault back now; harmless when it is already gone."""
        undo = self._undo.pop(fault_id, None)
        if undo is None:
            return
        self._running.world.recorder.event("experiment", "fault.undo", fault_id)
        undo()
        self._windows[fault_id] = (self._windows[fault_id][0], self.now)

    def status(self) -> Mapping[str, State]:
        """State of each component by name, sentinels left out; a member that serves nobody is down.

        On Kubernetes it is unknown while the API server of its cluster does not answer.
        """
        clusters = self._running.clusters
        return {
            name: state_of(daemon) if clusters is None or clusters.knows(daemon.site) else "unknown"
            for name, daemon in self._running.world.daemons.items()
            if daemon.component.kind != "sentinel"
        }

    def events(self) -> list[Event]:
        """Component events so far, ordered by time."""
        return list(self._running.world.recorder.events)

    def observation(self) -> Observation:
        """Everything seen so far."""
        deployment = self._running
        workload = deployment.world.program.workload
        windows = tuple((start, self.now if end is None else end) for start, end in self._windows.values())
        return deployment.world.recorder.observation(
            workload["duration"], workload["warmup"], windows, self._audit(), self._extra()
        )

    def _audit(self) -> Audit:
        deployment = self._running
        acknowledged = lost = divergent = in_doubt = found = 0
        behind = [m for m in deployment.members if not m.serving()]
        for call in deployment.load.calls:
            transaction = call.transaction
            kept = transaction is not None and transaction.committed and transaction.survived
            if call.outcome == "ok":
                acknowledged += 1
                lost += not kept
            elif call.outcome in _OPEN:
                in_doubt += 1
                found += kept
            if kept and transaction is not None and any(m.visible < transaction.seqno for m in behind):
                divergent += 1
        lookups = f"all {acknowledged + in_doubt} writes, in the model"
        return Audit(acknowledged, lost, divergent, in_doubt, found, lookups)

    def _extra(self) -> dict[str, object]:
        world = self._running.world
        elapsed = max(self.now, 1e-9)
        extra: dict[str, object] = {"cpu_busy": [round(cpu.busy / elapsed, 4) for cpu in world.cpus]}
        if world.program.platform is not None:
            extra["platform"] = KUBERNETES
        return extra


def state_of(daemon: Daemon) -> State:
    """As a lab sees it from outside: by whether it answers."""
    if not daemon.up:
        return "down"
    if daemon.paused:
        return "paused"
    if is_member(daemon) and not daemon.serving():
        return "down"  # runs, but answers 1047
    return "up"


def describe(fault: Fault) -> str:
    """A fault in one line: its kind and what is given of its fields."""
    given = fault.model_dump(exclude_none=True)
    kind = given.pop("fault")
    return " ".join([kind, *(f"{name}={value}" for name, value in given.items())])


def open_simulation(
    topology: Topology | None = None,
    workload: Workload | None = None,
    seed: int = 0,
    calibration: Calibration | None = None,
) -> Simulation:
    """A simulation; already at t = 0 when ``topology`` and ``workload`` are given."""
    simulation = Simulation(calibration)
    if topology is not None and workload is not None:
        simulation.start(topology, workload, seed)
    return simulation
