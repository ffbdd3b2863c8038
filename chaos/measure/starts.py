"""How long components take to serve again after their process was started, on a lab at rest.

Part of a calibration: what a `kill` costs after its undo is the machine's, not the protocol's. Times run
from the start of the process until the component itself says that it serves; the asking
costs up to `LOOK`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping

from chaos.errors import LabError
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.lab.bringup import last_words, launch
from chaos.lab.state import LabState, Running, StateFile
from chaos.lab.targets import live
from chaos.services import deployment, galera
from topologies.model import Galera

LOOK = 0.02
PATIENCE = 60.0

ROLES: Mapping[str, str] = {
    "iam": "iam",
    "redis": "redis",
    "nginx": "nginx",
    "haproxy": "haproxy",
}
"""Role -> name of its start time; a database's name depends on whether it has others to join."""


def start_times(directory: StateFile, cgroups: Cgroups, rounds: int = 2) -> dict[str, list[float]]:
    """Start times in seconds of one component of each kind, at the last site of the lab.

    Each is killed (SIGKILL) and started again ``rounds`` times. A database member with others gives
    `db_rejoin` (crash recovery, then an incremental transfer), one without gives `db`.

    Raises:
        LabError: no lab is up, or a component does not come back.
    """
    found: dict[str, list[float]] = {}
    state = directory.require()
    site = state.sites[-1]
    for running in state.daemons:
        name = _name(state, running)
        if running.site == site and running.index == 0 and name is not None:
            found[name] = [start_time(directory, cgroups, running.component) for _ in range(rounds)]
    return found


def _name(state: LabState, running: Running) -> str | None:
    if running.role != "mariadb":
        return ROLES.get(running.role)
    service = state.topology.services[running.service]
    return "db_rejoin" if isinstance(service, Galera) and len(service.members) > 1 else "db"


def start_time(directory: StateFile, cgroups: Cgroups, component: str) -> float:
    """Kill ``component`` and return the seconds from its process's start until it serves again.

    Raises:
        LabError: it does not end, or does not come back within `PATIENCE` seconds.
    """
    state = directory.require()
    running = next(one for one in state.daemons if one.component == component)
    daemon = running.daemon()
    for process in live(running, cgroups):
        processes.send(process, signal.SIGKILL)
    for process in live(running, cgroups):
        if not processes.wait(process, 5.0):
            raise LabError(f"{component} does not end on SIGKILL: pid {process.pid}")
    _await_farewell(state, running)
    began = time.monotonic()
    started = launch(daemon, cgroups)
    directory.update(lambda one: one.with_process(component, started))
    while deployment.condition(state.topology, daemon).state != "up":
        if not processes.is_alive(started):
            raise LabError(f"{component} ended at its start: {last_words(daemon.log)}")
        if time.monotonic() - began > PATIENCE:
            raise LabError(
                f"{component} does not serve within {PATIENCE:.0f} s of its start: see {daemon.log}"
            )
        time.sleep(LOOK)
    return time.monotonic() - began


def _await_farewell(state: LabState, gone: Running) -> None:
    """Wait until the other members have noticed that one of them is gone.

    A member that comes back before that has to wait for its own old self to be suspected first: that
    is the protocol's time, not the machine's.
    """
    service = state.topology.services[gone.service]
    if gone.role != "mariadb" or not isinstance(service, Galera):
        return
    others = [one.daemon() for one in state.daemons if one.service == gone.service and one != gone]
    deadline = time.monotonic() + service.inactive_timeout + service.install_timeout
    while not all(galera.is_synced(other, len(others)) for other in others):
        if time.monotonic() > deadline:
            raise LabError(f"the other members do not notice that {gone.component} is gone")
        time.sleep(0.1)
