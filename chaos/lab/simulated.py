"""The simulator in a lab's clothes: develop experiments without privileges, in virtual time.

What it shows is what the model says, so a run here never counts as validation. `chaos` does not
know the simulator: it asks for anything that keeps the `Simulator` protocol, which the command
line wires in (or, under plain `chaos run`, the entry point `reference` of `faultline.simulators`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Literal, Protocol

import pandas as pd

from chaos.errors import InjectionError, LabError
from chaos.lab.base import ComponentStatus, Endpoint, Injected, LabFacts
from experiments.faults import Fault
from experiments.observation import Event, Observation
from experiments.targets import components
from experiments.workload import Workload
from topologies.model import Haproxy, Topology

State = Literal["up", "down", "paused", "unknown"]


class Simulator(Protocol):
    """A simulation that can be stopped in time, disturbed, and asked what it saw.

    All times are virtual seconds since the load started. The order of use is `start`, then
    `run_until` with times that never go back, with `inject` and `undo` between; the others may be
    called at any moment after `start`.
    """

    @property
    def now(self) -> float:
        """Virtual time reached, 0 right after `start`."""

    def start(self, topology: Topology, workload: Workload, seed: int) -> None:
        """Build the model in its steady, fault-free state and put users and probes at t = 0."""

    def run_until(self, at: float) -> None:
        """Carry out everything that happens before or at ``at``; then `now` is ``at``."""

    def inject(self, fault: Fault) -> str:
        """Put ``fault`` in force now, record `fault.inject`, and return an id for `undo`.

        Raises:
            ValueError: the fault names something that is not in the topology.
        """

    def undo(self, fault_id: str) -> None:
        """Take the fault back now and record `fault.undo`; harmless when it is already gone."""

    def status(self) -> Mapping[str, State]:
        """State of each component, by name (`service@site` or `service@site/index`)."""

    def events(self) -> list[Event]:
        """Component events so far, ordered by time."""

    def observation(self) -> Observation:
        """Everything seen so far; `windows` has an entry per fault, open ones end at `now`."""


class VirtualClock:
    """Time that passes only while someone sleeps."""

    virtual = True

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.started = False

    def now(self) -> float:
        """Seconds since the load started; 0 before."""
        return self._simulator.now if self.started else 0.0

    def sleep(self, seconds: float) -> None:
        """Run the simulation ``seconds`` further; nothing happens before the load started."""
        if self.started and seconds > 0:
            # rounded to the nanosecond, so that sleeping up to a moment arrives at that moment
            self._simulator.run_until(max(round(self._simulator.now + seconds, 9), self._simulator.now))


class SimulatedLab:
    """A `chaos.lab.base.Lab` whose daemons are the simulator's."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._topology: Topology | None = None
        self.clock = VirtualClock(simulator)

    def up(self, topology: Topology) -> None:
        """Remember what to simulate."""
        self._topology = topology

    def down(self) -> None:
        """Forget it."""
        self._topology = None
        self.clock.started = False

    def status(self) -> list[ComponentStatus]:
        """What the model says; before the load every component is up because nothing has happened."""
        if self._topology is None:
            return []
        if not self.clock.started:
            return [ComponentStatus(name, "up", "no load yet") for name in components(self._topology)]
        return [ComponentStatus(name, state) for name, state in self._simulator.status().items()]

    def endpoints(self) -> list[Endpoint]:
        """The front ends, which have no address that could be reached from outside the model."""
        if self._topology is None:
            return []
        return [
            Endpoint(f"{name}@{site}", "simulated", 80)
            for name, service in self._topology.services_of(Haproxy).items()
            for site in service.sites
        ]

    def start_load(self, workload: Workload, seed: int) -> None:
        """Start the simulation at t = 0."""
        if self._topology is None:
            raise LabError("the simulated lab is not up: call up() with a topology first")
        self._simulator.start(self._topology, workload, seed)
        self.clock.started = True

    def stop_load(self) -> None:
        """Nothing to stop: no time passes while nobody sleeps."""

    def inject(self, fault: Fault) -> Injected:
        """Put ``fault`` in force in the model."""
        self._needs_load()
        try:
            fault_id = self._simulator.inject(fault)
        except ValueError as error:
            raise InjectionError(f"the {fault.fault} fault cannot be injected: {error}") from error
        return Injected(fault_id, fault, self.clock.now())

    def undo(self, injected: Injected) -> None:
        """Take ``injected`` back in the model."""
        if self.clock.started:
            self._simulator.undo(injected.id)

    def events(self) -> list[Event]:
        """Component events so far."""
        return self._simulator.events() if self.clock.started else []

    def samples(self, since: float) -> pd.DataFrame:
        """Requests that ended at or after ``since``."""
        self._needs_load()
        requests = self._simulator.observation().requests
        return requests[requests["start"] + requests["latency"] >= since]

    def observe(self) -> Observation:
        """Everything the simulation saw."""
        self._needs_load()
        return self._simulator.observation()

    def facts(self) -> LabFacts:
        """Says that nothing here was measured."""
        name = f"{type(self._simulator).__module__}.{type(self._simulator).__qualname__}"
        return LabFacts("simulated", {"simulator": name, "measured": False})

    def _needs_load(self) -> None:
        if not self.clock.started:
            raise LabError("the simulated lab has no load yet: call start_load() first")


def open_lab(platform: str | None = None) -> SimulatedLab:
    """A simulated lab over the installed simulator, for plain `chaos run`.

    Args:
        platform: `kubernetes` for sites that are clusters.

    Raises:
        LabError: no simulator is installed.
    """
    for entry in entry_points(group="faultline.simulators", name="reference"):
        simulator = entry.load()
        return SimulatedLab(simulator(platform=platform) if platform else simulator())
    raise LabError(
        "no simulator is installed: the entry point `reference` of group `faultline.simulators` is missing; "
        "reinstall faultline with `pip install .`"
    )
