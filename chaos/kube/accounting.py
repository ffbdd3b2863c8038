"""CPU time of the nodes of a lab's clusters, from the control groups that Docker puts them in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.errors import LabError
from chaos.host.cgroups import Hierarchy, Throttled
from chaos.kube import docker

_CONTAINER = re.compile(r"[0-9a-f]{64}")
"""Part of the name of every control group that is a container's own."""


class NodeUsage:
    """What the clusters use.

    Args:
        nodes: site -> names of its nodes.
        hierarchy: control groups of this machine.
    """

    def __init__(self, nodes: Mapping[str, Sequence[str]], hierarchy: Hierarchy) -> None:
        self._nodes = nodes
        self._hierarchy = hierarchy
        self._groups: dict[str, str] = {}

    @property
    def sites(self) -> frozenset[str]:
        """Sites that have nodes."""
        return frozenset(self._nodes)

    def cpu_seconds(self, site: str) -> float | None:
        """CPU time of all nodes of a site so far; None when one cannot be found now."""
        total = 0.0
        for node in self._nodes.get(site, ()):
            used = self._used(node)
            if used is None:
                return None
            total += used
        return total

    def throttled(self, site: str) -> Throttled | None:
        """How long CPU limits held the containers of a site's pods back so far; None when unknown."""
        if self._hierarchy.cpu is None:
            return None
        found = Throttled(0, 0, 0.0)
        for node in self._nodes.get(site, ()):
            group = self._group(node)
            if group is None:
                return None
            for path in self._hierarchy.cpu.joinpath(group).rglob("cpu.stat"):
                # Pods have a limit of their own around that of their container: count the inner one only.
                if "kubepods" in str(path) and _CONTAINER.search(path.parent.name):
                    found = _add(found, path)
        return found

    def _used(self, node: str) -> float | None:
        group = self._group(node)
        if group is None or self._hierarchy.accounting is None:
            return None
        path = self._hierarchy.accounting / group
        try:
            if self._hierarchy.version == 1:
                return int((path / "cpuacct.usage").read_text()) * 1e-9
            return _stat(path / "cpu.stat").get("usage_usec", 0) * 1e-6
        except (OSError, ValueError):
            self._groups.pop(node, None)  # the node was restarted
            return None

    def _group(self, node: str) -> str | None:
        """Path of a node's control group below the controllers' directories."""
        if node not in self._groups:
            try:
                container = next(iter(docker.inspect([node])), None)
            except LabError:
                return None
            if container is None or container.pid == 0:
                return None
            try:
                lines = Path("/proc", str(container.pid), "cgroup").read_text().splitlines()
            except OSError:
                return None
            group = group_of(container.id, lines)
            if group is None:
                return None
            self._groups[node] = group
        return self._groups[node]


def group_of(container: str, lines: Sequence[str]) -> str | None:
    """The control group of a container, from the lines of /proc/<pid>/cgroup of any of its processes.

    The container's own init system makes groups below it; its own ends with the id that Docker gave it.
    """
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        before, there, after = path.partition(container)
        if there:
            return (before + there + after.partition("/")[0]).lstrip("/")
    return None


def _add(total: Throttled, path: Path) -> Throttled:
    try:
        stat = _stat(path)
    except (OSError, ValueError):
        return total
    return Throttled(
        total.periods + stat.get("nr_periods", 0),
        total.throttled + stat.get("nr_throttled", 0),
        total.seconds + stat.get("throttled_time", 0) * 1e-9 + stat.get("throttled_usec", 0) * 1e-6,
    )


def _stat(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}
