"""What faults may do to the local lab: its network, its components, their processes."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Component
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.host.processes import Process
from chaos.lab.bringup import last_words, launch
from chaos.lab.state import Running, StateFile
from chaos.wan.links import Wan

NOT_TARGETS = ("sentinel", "gdnsd")
"""Roles that no fault may name: sentinels watch from outside, the DNS balancer stands outside the sites."""

_STAYS_UP = 0.3


class Targets:
    """The `chaos.faults.context.FaultContext` of a lab that is up."""

    def __init__(self, file: StateFile, cgroups: Cgroups, wan: Wan) -> None:
        self._file = file
        self._cgroups = cgroups
        self._wan = wan

    @property
    def wan(self) -> Wan:
        """The network between the sites."""
        return self._wan

    def components(self) -> Sequence[Component]:
        """Every component that a fault may name."""
        return [
            Component(one.service, one.site, one.index)
            for one in self._file.require().daemons
            if one.role not in NOT_TARGETS
        ]

    def processes(self, component: Component) -> Sequence[Process]:
        """The live processes of the component, children included."""
        return live(self._named(component), self._cgroups)

    def restart(self, component: Component) -> None:
        """Start the component again as an operator would, crash recovery included.

        Returns as soon as it is clear that the process stays: what it takes to serve again is
        measured, not waited for.

        Raises:
            LabError: it ends again at once.
        """
        running = self._named(component)
        process = launch(running.daemon(), self._cgroups)
        self._file.update(lambda state: state.with_process(running.component, process))
        if processes.wait(process, _STAYS_UP):
            raise LabError(f"{running.component} ended at its start: {last_words(running.log)}")

    def _named(self, component: Component) -> Running:
        for one in self._file.require().daemons:
            place = Component(one.service, one.site, one.index)
            if place == component and one.role not in NOT_TARGETS:
                return one
        raise InjectionError(f"there is no {component} in this lab")


def live(running: Running, cgroups: Cgroups) -> list[Process]:
    """The live processes of a daemon, children included."""
    found = [Process.of(pid) for pid in cgroups.pids(running.group)]
    return [one for one in found if one is not None and processes.is_alive(one)]
