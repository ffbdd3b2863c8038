"""A fake simulator for tests of the machinery around simulators. It models nothing.

Every probe and one user per population ask at fixed times; whoever stands at a site that a fault
names gets `refused`. That is all it can do, and all that tests of the Chaos Toolkit extension need.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from chaos.lab.simulated import State
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from experiments.observation import REQUEST_COLUMNS, Audit, Event, Observation
from experiments.targets import components, placement
from experiments.workload import STEPS, Workload
from topologies.model import Topology


class FakeSimulator:
    """Keeps the `Simulator` protocol; `refuses_undo` and `refuses_inject` make it fail on demand."""

    def __init__(
        self, *, refuses_inject: bool = False, refuses_undo: bool = False, sick: bool = False
    ) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, str]] = []
        self.refuses_inject, self.refuses_undo, self.sick = refuses_inject, refuses_undo, sick
        self._faults: dict[str, tuple[Fault, float]] = {}
        self._windows: list[tuple[float, float]] = []
        self._rows: list[tuple[object, ...]] = []
        self._events: list[Event] = []

    def start(self, topology: Topology, workload: Workload, seed: int) -> None:
        """Forget everything and begin at 0."""
        self.topology, self.workload, self.seed = topology, workload, seed
        self.now = 0.0
        self.calls.append((0.0, "start"))

    def run_until(self, at: float) -> None:
        """Ask at every tick until then."""
        assert at >= self.now, "time must not go back"
        for stream in self.workload.probes:
            self._ask(at, 1 / stream.rate, "probe", stream.flow, (stream.flow,), list(self.topology.sites))
        users = [clients.site for clients in self.topology.clients.values()]
        self._ask(at, 1.0, "load", self.workload.flow, STEPS[self.workload.flow], users)
        self.now = at

    def _ask(
        self, until: float, period: float, source: str, flow: str, steps: tuple[str, ...], sites: list[str]
    ) -> None:
        down = self._down()
        for tick in range(int(self.now / period), int(until / period) + 1):
            if not self.now <= tick * period < until:
                continue
            for site in sites:
                outcome = "refused" if site in down or self.sick else "ok"
                for step in steps:
                    status = 200 if outcome == "ok" else 0
                    self._rows.append((tick * period, 0.01, source, site, flow, step, status, outcome, site))

    def _down(self) -> set[str]:
        down: set[str] = set()
        for fault, _ in self._faults.values():
            if isinstance(fault, Kill | Pause):
                down.add(fault.target.partition("@")[2].partition("/")[0])
            elif isinstance(fault, Partition):
                down |= set(fault.isolate or ())
        return down

    def inject(self, fault: Fault) -> str:
        """Note the fault."""
        if self.refuses_inject:
            raise ValueError("the fake refuses")
        if isinstance(fault, Kill | Pause):
            service, _, rest = fault.target.partition("@")
            if rest.partition("/")[0] not in placement(self.topology).get(service, {}):
                raise ValueError(f"no component {fault.target}")
        assert not isinstance(fault, Degrade) or fault.rtt is not None
        name = f"f{len(self.calls)}"
        self._faults[name] = (fault, self.now)
        self.calls.append((self.now, f"inject {fault.fault}"))
        self._events.append(Event(self.now, "experiment", "fault.inject", fault.fault))
        return name

    def undo(self, fault_id: str) -> None:
        """Forget the fault."""
        if self.refuses_undo:
            raise ValueError("the fake cannot undo")
        if fault_id in self._faults:
            fault, since = self._faults.pop(fault_id)
            self._windows.append((since, self.now))
            self.calls.append((self.now, f"undo {fault.fault}"))
            self._events.append(Event(self.now, "experiment", "fault.undo", fault.fault))

    def status(self) -> Mapping[str, State]:
        """Down where a fault names the site."""
        down = self._down()
        return {
            name: "down" if name.partition("@")[2] in down else "up" for name in components(self.topology)
        }

    def events(self) -> list[Event]:
        """Injections and undos."""
        return list(self._events)

    def observation(self) -> Observation:
        """All that was asked and answered by now."""
        rows = [row for row in self._rows if row[0] + row[1] <= self.now]  # type: ignore[operator]
        requests = pd.DataFrame(rows, columns=list(REQUEST_COLUMNS)).sort_values("start", kind="stable")
        still_open = [(since, self.now) for _, since in self._faults.values()]
        return Observation(
            requests,
            tuple(self._events),
            Audit(len(rows), 0, 0, 0, 0, "all"),
            self.workload.duration,
            self.workload.warmup,
            tuple(sorted([*self._windows, *still_open])),
        )
