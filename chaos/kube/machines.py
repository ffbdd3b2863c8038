"""Nodes that are containers of this machine: stopped, frozen and looked into from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from chaos.errors import InjectionError, LabError
from chaos.host.processes import Process, is_alive
from chaos.kube import docker

PATIENCE = 60.0


class DockerMachines:
    """The nodes of a lab's clusters: a `chaos.kube.context.Machines`.

    Args:
        nodes: site -> names of its nodes, the control plane first.
        restored: told the names of nodes that were started again, so that what a node loses with its
            power (name of its network namespace, devices, routes) can be put back.
    """

    def __init__(
        self,
        nodes: Callable[[str], Sequence[str]],
        restored: Callable[[Sequence[str]], None] = lambda names: None,
    ) -> None:
        self._nodes = nodes
        self._restored = restored

    def nodes(self, site: str) -> Sequence[str]:
        """Names of a site's nodes by number."""
        return self._nodes(site)

    def state(self, node: str) -> str:
        """What the engine says of the node's container."""
        found = docker.inspect([node])
        return found[0].state if found else ""

    def kill(self, nodes: Sequence[str]) -> None:
        """SIGKILL to every process of the containers: nothing is flushed, nobody is told."""
        self._engine("kill", nodes)
        self._await(nodes, lambda state: state not in ("running", "paused"))

    def start(self, nodes: Sequence[str]) -> None:
        """Start what is down, in the given order: addresses are handed out in the order of starts."""
        down = [node for node in nodes if self.state(node) not in ("running", "paused")]
        for node in down:
            self._engine("start", [node])
        if down:
            self._restored(down)

    def pause(self, nodes: Sequence[str]) -> None:
        """Freeze the containers' control groups."""
        self._engine("pause", [node for node in nodes if self.state(node) != "paused"])

    def unpause(self, nodes: Sequence[str]) -> None:
        """Thaw what is frozen."""
        self._engine("unpause", [node for node in nodes if self.state(node) == "paused"])

    def run(self, node: str, *argv: str, check: bool = True) -> str:
        """Run a command inside the node's container."""
        try:
            done = docker.inside(node, *argv, check=False)
        except LabError as error:
            raise InjectionError(str(error)) from error
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[:200]
            raise InjectionError(f"`{' '.join(argv)}` on {node} failed: {said or 'no reason given'}")
        return done.stdout

    def processes(self, containers: Collection[str]) -> list[Process]:
        """Live processes whose control group carries the id of one of ``containers``."""
        found = []
        for pid in _pids_of(containers):
            process = Process.of(pid)
            if process is not None and is_alive(process):
                found.append(process)
        return found

    @staticmethod
    def _engine(verb: str, nodes: Sequence[str]) -> None:
        if not nodes:
            return
        try:
            docker.docker(verb, *nodes)
        except LabError as error:
            raise InjectionError(f"cannot {verb} {', '.join(nodes)}: {error}") from error

    def _await(self, nodes: Sequence[str], holds: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        for node in nodes:
            while not holds(self.state(node)):
                if time.monotonic() > deadline:
                    raise InjectionError(f"{node} is still {self.state(node)}")
                time.sleep(0.05)


def _pids_of(containers: Collection[str]) -> list[int]:
    """Processes of this machine in the control groups of ``containers``.

    The path of a container's group ends with its id, with a prefix and a suffix where systemd names
    it; children have groups of their own only if they make them.
    """
    if not containers:
        return []
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
        except OSError:  # it has ended meanwhile
            continue
        if any(container in groups for container in containers):
            pids.append(int(entry.name))
    return sorted(pids)
