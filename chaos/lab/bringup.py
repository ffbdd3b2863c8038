"""Bringing the local lab up: network, data, daemons, in the order in which they need each other."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from chaos.errors import LabError
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.host.processes import Process
from chaos.iam.tokens import load_or_create_key
from chaos.lab import generators
from chaos.lab.layout import cache_directory
from chaos.lab.state import Running, StateFile
from chaos.services import deployment, iam, template
from chaos.services.daemon import Daemon
from chaos.services.deployment import Deployment
from chaos.wan.links import Wan
from topologies import cpus
from topologies.model import Galera, IndigoIam, Topology

Progress = Callable[[str], None]

PATIENCE = 60.0
"""Seconds for the whole lab to come up before it is given up."""

_LOOK = 0.05


def launch(daemon: Daemon, cgroups: Cgroups) -> Process:
    """Start a daemon, in its control group and namespace, as its user."""
    cgroups.create(daemon.group)
    return processes.start(
        daemon.argv,
        group=daemon.group,
        cgroups=cgroups,
        log=daemon.log,
        namespace=daemon.namespace,
        user=daemon.user,
        cpu=daemon.cpu,
        env=daemon.env,
        cwd=daemon.home,
    )


def last_words(log: Path) -> str:
    """The last line of a daemon's log that tells why it ended, and where the log is."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return f"see {log}"
    telling = [line for line in lines[-40:] if "rror" in line or "ERROR" in line or "ALERT" in line]
    return f"{(telling or lines or ['no message'])[-1][:300]} (log: {log})"


def place_signing_key(directory: Path) -> Path:
    """Put the key that all replicas sign with into the lab's directory.

    One key for all labs, copied into each: making one takes up to a second.
    """
    kept = cache_directory() / iam.KEY_FILE
    kept.parent.mkdir(parents=True, exist_ok=True)
    load_or_create_key(kept)
    own = directory / iam.KEY_FILE
    shutil.copyfile(kept, own)
    own.chmod(0o600)
    return own


def start_daemons(file: StateFile, cgroups: Cgroups, daemons: Iterable[Daemon], pool: Executor) -> None:
    """Write the files of daemons of this machine, start them, and note them in the lab's state."""

    def begin(daemon: Daemon) -> Running:
        daemon.prepare()
        return Running.of(daemon, launch(daemon, cgroups))

    started = tuple(pool.map(begin, daemons))
    file.update(lambda state: replace(state, daemons=(*state.daemons, *started)))


def start_recorder(file: StateFile, cgroups: Cgroups) -> None:
    """Start the process that writes events and health down; it lives as long as the lab."""
    cgroups.create("recorder", weight=generators.WEIGHT)
    process = processes.start(
        [sys.executable, "-m", "chaos.measure.recorder", "--directory", str(file.directory)],
        group="recorder",
        cgroups=cgroups,
        log=file.directory / "recorder.log",
    )
    file.update(lambda state: replace(state, recorder=process))


class Bringup:
    """One attempt to bring a lab up.

    Args:
        file: where the state goes, after each stage.
        cgroups: of the lab.
        wan: its network, not up yet.
        progress: told in words what happens.
    """

    def __init__(self, file: StateFile, cgroups: Cgroups, wan: Wan, progress: Progress) -> None:
        self._file = file
        self._cgroups = cgroups
        self._wan = wan
        self._progress = progress
        self._pool = ThreadPoolExecutor(8)
        self._deadline = time.monotonic() + PATIENCE
        self._cpus: dict[str, int] = {}

    def run(self, topology: Topology, planned: Deployment) -> None:
        """Start everything; return when the service answers at every site.

        Raises:
            LabError: something does not start; what was started stays for the caller to remove.
        """
        with self._pool:
            identity = next(iter(topology.services_of(IndigoIam).values()), None)
            scripts = [iam.seed_script(identity)] if identity else []
            data = self._pool.submit(template.ensure, scripts, cache_directory())
            place_signing_key(self._file.directory)
            self._wan.up()
            self._progress(f"network is up, WireGuard: {self._wan.tunnels.implementation}")
            for name, site in topology.sites.items():
                self._cgroups.create(name, cores=site.cpu)
            usable = sorted(os.sched_getaffinity(0))
            self._cpus = {site: usable[place] for site, place in cpus.placed(topology, len(usable)).items()}
            self._install(topology, planned.databases, data.result())
            self._start([*planned.databases, *planned.caches, *planned.sentinels, *planned.proxies])
            start_recorder(self._file, self._cgroups)
            self._settle(topology, planned.databases, "database")
            # Replicas fill their connection pools at their start, so they come after the database.
            self._start(planned.services)
            self._settle(topology, [*planned.caches, *planned.sentinels], "sessions")
            self._settle(topology, [*planned.services, *planned.proxies], "identity service")
            # What checks others' health comes last: a first check that fails takes seconds to make good.
            self._start(planned.front_ends)
            self._settle(topology, planned.front_ends, "front ends")
            self._start(planned.balancers)
            self._settle(topology, planned.balancers, "DNS balancer")

    def _install(self, topology: Topology, servers: Sequence[Daemon], data: template.Template) -> None:
        members = [one for one in servers if isinstance(topology.services[one.service], Galera)]

        def install(server: Daemon) -> None:
            data.install(server, len(members), members.index(server) + 1 if server in members else 0)

        list(self._pool.map(install, servers))

    def _start(self, daemons: Iterable[Daemon]) -> None:
        tied = [replace(daemon, cpu=self._cpus.get(daemon.site)) for daemon in daemons]
        start_daemons(self._file, self._cgroups, tied, self._pool)

    def _settle(self, topology: Topology, daemons: Sequence[Daemon], what: str) -> None:
        """Wait until all of ``daemons`` are in their fault-free state."""
        if not daemons:
            return
        began = time.monotonic()
        started = {one.component: one.process for one in self._file.require().daemons}
        waiting = list(daemons)
        while waiting:
            for daemon in waiting:
                process = started[daemon.component]
                if process is None or not processes.is_alive(process):
                    raise LabError(f"{daemon.component} ended at its start: {last_words(daemon.log)}")
            settled = list(self._pool.map(lambda one: deployment.is_settled(topology, one), waiting))
            waiting = [one for one, done in zip(waiting, settled, strict=True) if not done]
            if not waiting:
                break
            if time.monotonic() > self._deadline:
                one = waiting[0]
                raise LabError(
                    f"{one.component} does not come up within {PATIENCE:.0f} s "
                    f"({deployment.condition(topology, one).detail}): see {one.log}"
                )
            time.sleep(_LOOK)
        self._progress(f"{what} settled after {time.monotonic() - began:.1f} s")
