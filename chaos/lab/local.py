"""The local lab: network namespaces of this machine, real daemons, real packets.

Everything is started below the control group `faultline` and in namespaces `fl-...`; what another
process needs to know is in `state.json`. Whatever moment this process is killed at, `chaos.heal` finds
and removes all of it, and every `up` heals first.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pandas as pd

from chaos import heal
from chaos.errors import LabError
from chaos.faults.registry import PROCESSES
from chaos.host import capabilities, processes
from chaos.lab import provenance
from chaos.lab.base import ComponentStatus, Endpoint
from chaos.lab.bringup import Bringup
from chaos.lab.host import HostLab
from chaos.lab.layout import Layout
from chaos.lab.state import LabState, Running
from chaos.lab.targets import Targets, live
from chaos.measure import consistency, starts
from chaos.services import deployment
from topologies.model import Topology


class LocalLab(HostLab):
    """A lab of namespaces and daemons: a `chaos.lab.base.Lab`."""

    backend = "local"
    faults = PROCESSES

    # ---------------------------------------------------------------- up and down

    def up(self, topology: Topology) -> None:
        """Start everything and return when the service answers at every site.

        Raises:
            MissingCapability: this machine cannot run the lab; the message says what to install.
            LabBusy: another lab runs here.
            LabError: the topology does not fit, or something does not start (all of it is removed).
        """
        began = time.monotonic()
        capabilities.require()
        layout = Layout.of(topology, self.directory)
        planned = deployment.plan(topology, layout)  # refuses what does not fit before anything starts
        self._lock.acquire()
        self._holds = True
        try:
            for line in heal.heal(self.directory):
                self.progress(f"healed: {line}")
            heal.prepare_directory(self.directory)
            self._file.begin(topology)
            Bringup(self._file, self._cgroups, self._wan, self.progress).run(topology, planned)
            found = provenance.collect(self._file.require(), self._cgroups, self._wan.facts())
            self._file.update(lambda state: replace(state, complete=True, facts=found))
        except BaseException:
            with suppress(LabError):
                self.down(keep_logs=True)
            raise
        self.progress(f"lab is up after {time.monotonic() - began:.1f} s")

    # ---------------------------------------------------------------- what is there

    def status(self) -> list[ComponentStatus]:
        """True state of every component, asked of each daemon; empty when no lab is up."""
        state = self._attached()
        if state is None:
            return []
        with ThreadPoolExecutor(max(1, len(state.daemons))) as pool:
            return list(pool.map(lambda one: self._status(state.topology, one), state.daemons))

    def _status(self, topology: Topology, running: Running) -> ComponentStatus:
        alive = live(running, self._cgroups)
        if not alive:
            return ComponentStatus(running.component, "down", "no process")
        if any(processes.is_stopped(process) for process in alive):
            return ComponentStatus(running.component, "paused", f"pid {alive[0].pid} is stopped")
        condition = deployment.condition(topology, running.daemon())
        return ComponentStatus(running.component, condition.state, condition.detail)

    def endpoints(self) -> list[Endpoint]:
        """Addresses of every daemon, reachable from inside the lab's namespaces."""
        return [Endpoint(one.component, one.address, one.port) for one in self._required().daemons]

    # ---------------------------------------------------------------- what the shared half asks for

    def start_times(self, rounds: int = 2) -> dict[str, list[float]]:
        """Seconds until each kind of component serves again after a crash, see `chaos.measure.starts`."""
        self._required()
        return starts.start_times(self._file, self._cgroups, rounds)

    def _targets(self) -> Targets:
        return Targets(self._file, self._cgroups, self._wan)

    def _look_up(self, state: LabState, samples: pd.DataFrame) -> consistency.Found:
        daemons = [one.daemon() for one in state.daemons if one.role == "mariadb"]
        servers = [consistency.Server.on_this_machine(one) for one in daemons]
        return consistency.audit(state.topology, servers, samples)


def open_lab() -> LocalLab:
    """A local lab in the default directory: the entry point `local` of `faultline.labs`."""
    return LocalLab()
