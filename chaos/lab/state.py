"""What is running, on disk: any process can find out about a lab that another one brought up."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.host.processes import Process
from chaos.lab.layout import Layout
from chaos.services.daemon import Daemon
from topologies.model import Topology

STATE_FILE = "state.json"
VERSION = 1


@dataclass(frozen=True)
class Running:
    """A daemon that was started.

    Attributes: as `chaos.services.daemon.Daemon`, without the contents of its files, and
        process: what it runs as; None before its start.
        digest: of its configuration files.
    """

    component: str
    role: str
    service: str
    site: str
    index: int
    namespace: str
    group: str
    home: Path
    argv: tuple[str, ...]
    user: str | None
    env: Mapping[str, str]
    address: str
    port: int
    digest: str
    process: Process | None = None
    cpu: int | None = None

    @classmethod
    def of(cls, daemon: Daemon, process: Process | None = None) -> Running:
        """The record of ``daemon``."""
        return cls(
            component=daemon.component,
            role=daemon.role,
            service=daemon.service,
            site=daemon.site,
            index=daemon.index,
            namespace=daemon.namespace,
            group=daemon.group,
            home=daemon.home,
            argv=daemon.argv,
            user=daemon.user,
            env=daemon.env,
            address=daemon.address,
            port=daemon.port,
            digest=daemon.digest(),
            process=process,
            cpu=daemon.cpu,
        )

    def daemon(self) -> Daemon:
        """The daemon again, without its files: they are on disk, and some daemons rewrite theirs."""
        return Daemon(
            component=self.component,
            role=self.role,  # type: ignore[arg-type]  # written by `of` from a Daemon's role
            service=self.service,
            site=self.site,
            index=self.index,
            namespace=self.namespace,
            group=self.group,
            home=self.home,
            argv=self.argv,
            files={},
            user=self.user,
            env=self.env,
            address=self.address,
            port=self.port,
            cpu=self.cpu,
        )

    @property
    def log(self) -> Path:
        """File with its output."""
        return self.home / "log"

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **asdict(self),
            "home": str(self.home),
            "argv": list(self.argv),
            "env": dict(self.env),
            "process": self.process.data() if self.process else None,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Running:
        """The way back from `data`."""
        process = data["process"]
        return cls(
            **{
                **data,
                "home": Path(data["home"]),
                "argv": tuple(data["argv"]),
                "process": Process(*process) if process else None,
            }
        )


@dataclass(frozen=True)
class Load:
    """The load that was started.

    Attributes:
        t0: UNIX time of its start: zero of the lab's clock.
        workload: as plain data.
        seed: of all generators.
        samples: CSV files the generators write.
        processes: the generators.
    """

    t0: float
    workload: Mapping[str, Any]
    seed: int
    samples: tuple[Path, ...]
    processes: tuple[Process, ...] = ()

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "t0": self.t0,
            "workload": dict(self.workload),
            "seed": self.seed,
            "samples": [str(path) for path in self.samples],
            "processes": [process.data() for process in self.processes],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Load:
        """The way back from `data`."""
        return cls(
            data["t0"],
            data["workload"],
            data["seed"],
            tuple(Path(path) for path in data["samples"]),
            tuple(Process(*process) for process in data["processes"]),
        )


@dataclass(frozen=True)
class LabState:
    """Everything another process needs to know about a lab.

    Attributes:
        directory: of the lab.
        topology: in lab size.
        complete: whether `up` came to its end.
        daemons: in order of their start.
        recorder: the process that writes events and health down.
        facts: what the lab is made of.
        load: the last load, if any.
        windows: faults as [id, injected, undone] in UNIX time; undone is None while in force.
        backend: name of the kind of lab.
        nodes: site -> names of its nodes, where sites are clusters.
    """

    directory: Path
    topology: Topology
    complete: bool = False
    daemons: tuple[Running, ...] = ()
    recorder: Process | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    load: Load | None = None
    windows: tuple[tuple[str, float, float | None], ...] = ()
    backend: str = "local"
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        """In file order."""
        return tuple(self.topology.sites)

    @property
    def layout(self) -> Layout:
        """Addresses and directories."""
        return Layout(self.sites, self.directory)

    def public_sites(self) -> dict[str, str]:
        """Public address -> site."""
        return {self.layout.public(site): site for site in self.sites}

    def with_process(self, component: str, process: Process) -> LabState:
        """The state after ``component`` was started as ``process``."""
        daemons = tuple(
            replace(one, process=process) if one.component == component else one for one in self.daemons
        )
        return replace(self, daemons=daemons)

    def write(self) -> None:
        """Replace the state file as a whole, on disk before this returns.

        Raises:
            LabError: it cannot be written.
        """
        text = json.dumps(
            {
                "version": VERSION,
                "directory": str(self.directory),
                "topology": self.topology.model_dump(mode="json"),
                "complete": self.complete,
                "daemons": [one.data() for one in self.daemons],
                "recorder": self.recorder.data() if self.recorder else None,
                "facts": dict(self.facts),
                "load": self.load.data() if self.load else None,
                "windows": [list(window) for window in self.windows],
                "backend": self.backend,
                "nodes": {site: list(names) for site, names in self.nodes.items()},
            },
            indent=1,
        )
        path = self.directory / STATE_FILE
        temporary = path.with_suffix(".json.new")
        try:
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise LabError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, directory: Path) -> LabState:
        """The state of the lab in ``directory``.

        Raises:
            LabError: there is none, or it cannot be read.
        """
        path = directory / STATE_FILE
        try:
            data = json.loads(path.read_text())
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']}")
            return cls(
                directory=Path(data["directory"]),
                topology=Topology.model_validate(data["topology"]),
                complete=data["complete"],
                daemons=tuple(Running.from_data(one) for one in data["daemons"]),
                recorder=Process(*data["recorder"]) if data["recorder"] else None,
                facts=data["facts"],
                load=Load.from_data(data["load"]) if data["load"] else None,
                windows=tuple((name, begin, end) for name, begin, end in data["windows"]),
                backend=data.get("backend", "local"),
                nodes={site: tuple(names) for site, names in data.get("nodes", {}).items()},
            )
        except FileNotFoundError as error:
            raise LabError(f"no lab is up in {directory}: run `faultline lab up TOPOLOGY`") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabError(f"cannot read {path} ({error}): run `faultline heal`") from error


class StateFile:
    """The state of one lab directory, shared by everything in this process that reads or changes it.

    Attributes:
        directory: of the lab.
        guard: held while the state changes; take it to do several things as one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.guard = threading.RLock()
        self._state: LabState | None = None

    def get(self) -> LabState | None:
        """The state; None when no lab is up."""
        if self._state is None:
            try:
                self._state = LabState.read(self.directory)
            except LabError:
                return None
        return self._state

    def require(self) -> LabState:
        """The state.

        Raises:
            LabError: no lab is up, or its state cannot be read.
        """
        state = self.get()
        return LabState.read(self.directory) if state is None else state

    def begin(self, topology: Topology, backend: str = "local") -> None:
        """The state of a lab of which nothing has been started yet."""
        self._state = LabState(self.directory, topology, backend=backend)
        self._state.write()

    def update(self, change: Callable[[LabState], LabState]) -> LabState:
        """Change the state and put it on disk."""
        with self.guard:
            self._state = change(self.require())
            self._state.write()
            return self._state

    def forget(self) -> None:
        """The lab is gone."""
        self._state = None
