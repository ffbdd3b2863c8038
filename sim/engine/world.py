"""What all parts of the engine share: the clock, the machines, the processes, the record.

A process (a daemon) is up, paused or down. Requests and checks that are inside one when it dies
are interrupted; those inside one that is paused wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Self

import simpy

from sim.engine.machines import Machine
from sim.engine.network import Network
from sim.engine.recorder import Recorder
from sim.engine.setting import Setting
from sim.engine.stations import Cpu
from sim.program import Component, Program

Steps = Generator[simpy.Event, Any, Any]


class Daemon:
    """A process that can be killed and paused.

    Attributes:
        up: whether it runs (a paused one does, in the kernel's eyes).
        paused: stopped by SIGSTOP: the kernel still accepts connections for it.
        inside: what is being done in it now: SimPy processes, interrupted when it dies.
        route: where a Service stands in front of it: connects, and gives what the connection meets.
    """

    def __init__(self, world: World, component: Component) -> None:
        self.world = world
        self.component = component
        self.name = component.name
        self.site = component.site
        self.cpu = world.cpus[component.cpu]
        self.up = True
        self.paused = False
        self.inside: dict[simpy.Process, None] = {}  # a dict because its order is the same in every run
        self._resumed = world.env.event()
        self.on_change: list[Callable[[], None]] = []
        self.route: Callable[[float, str], Steps] | None = None

    def reached(self, patience: float, asker: str) -> Generator[simpy.Event, Any, Self]:
        """Connect to this one's address: the process that is met, within ``patience`` seconds.

        Args:
            patience: when the asker gives up; what it met then is not up.
            asker: name of the host that asks.
        """
        if self.route is None:
            return self
        found: Self = yield from self.route(patience, asker)
        return found

    @property
    def answering(self) -> bool:
        """Runs and is not paused."""
        return self.up and not self.paused

    def until_running(self) -> Steps:
        """Wait while the process is paused."""
        while self.paused:
            yield self._resumed

    def kill(self) -> None:
        """The process dies at once, and with it all that was inside."""
        if not self.up:
            return
        self.up = False
        self.cpu.drop(self)
        if self.paused:
            self.resume()
        for process in list(self.inside):
            if process.is_alive:
                process.interrupt(self)
        self.inside.clear()
        self.world.recorder.event(self.name, "process.stop")
        self._changed()

    def start(self) -> None:
        """The process serves again."""
        if self.up:
            return
        self.up = True
        self.world.recorder.event(self.name, "process.start")
        self._changed()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.paused or not self.up:
            return
        self.paused = True
        self.cpu.pause(self)
        self.world.recorder.event(self.name, "process.stop", "paused")
        self._changed()

    def resume(self) -> None:
        """SIGCONT."""
        if not self.paused:
            return
        self.paused = False
        self.cpu.resume(self)
        happened, self._resumed = self._resumed, self.world.env.event()
        happened.succeed()
        if self.up:
            self.world.recorder.event(self.name, "process.start", "resumed")
            self._changed()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()


class World(Setting):
    """One simulated deployment."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(program, seed)
        self.env = simpy.Environment()
        self.network = Network(self.env, program, self.streams)
        self.recorder = Recorder(self.env, program.sites)
        rows = [data.get("token_scope_rows", 0) for data in program.services.values()]
        self.token_scope_rows: int = max(rows, default=0)
        machines = [Machine(self.env, cores) for cores in program.arrays["set_cores"].tolist()]
        self.cpus = [
            Cpu(self.env, *own) if shared < 0 else machines[shared].share(*own)
            for shared, own in self.cpu_settings()
        ]
        self.daemons: dict[str, Daemon] = {}

    def daemon(self, component: Component) -> Daemon:
        """A process that serves nothing of its own here."""
        return Daemon(self, component)

    def at(self, delay: float, call: Callable[[], None]) -> None:
        """Call ``call`` after ``delay`` seconds."""
        event = simpy.Event(self.env)
        event._ok = True
        event._value = None
        event.callbacks = [lambda _: call()]
        self.env.schedule(event, delay=delay)
