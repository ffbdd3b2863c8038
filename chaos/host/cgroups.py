"""CPU quotas, CPU accounting and finding every process of the lab: control groups v1 and v2.

Layout: `faultline/<site>` carries the site's quota, `faultline/<site>/<component>` holds the
processes of one component, `faultline/net` the relay and WireGuard, `faultline/load` the users.
Every process of the lab is below `faultline`, so that a fresh process can find and end them all.

The period is 50 ms. Longer, a group that used up its quota stands still for most of the kernel's default of
100 ms, which no real node of the same speed does. Shorter, the kernel's bandwidth slices distort
the quota: each CPU takes 5 ms at once (`sched_cfs_bandwidth_slice_us`), so with 5 ms per 10 ms one CPU
holds it all while a daemon on the other CPU stands still. Measured, without a fault: the median latency
was 1.5 times the model's with 10 ms and 1.16 times with 50 ms (docs/decisions/0007-quota-period.md).
Sites of up to one core are tied to one CPU besides (0013-one-cpu-per-site.md).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import LabError, MissingCapability

ROOT = "faultline"
PERIOD = 0.050
"""Seconds per quota period."""
SMALLEST_QUOTA = 0.001
"""Seconds per period; the kernel refuses less (`min_cfs_quota_period`, kernel/sched/core.c)."""
DEFAULT_WEIGHT = 1.0
LAB_WEIGHT = 8.0
"""Of `faultline` against everything else on the machine: what else runs should not slow a node down."""


@dataclass(frozen=True)
class Hierarchy:
    """Where control groups live on this machine.

    Attributes:
        version: 1 or 2.
        mounts: directories in which a lab group exists: for version 1 those of cpu, cpuacct and
            freezer (fewer when mounted together), for version 2 the one unified tree.
        cpu, accounting, freezer: which of them answers what; None when the controller is missing.
    """

    version: int
    mounts: tuple[Path, ...]
    cpu: Path | None
    accounting: Path | None
    freezer: Path | None


def detect(mounts_file: Path = Path("/proc/self/mounts")) -> Hierarchy:
    """Find the hierarchies at run time; version 1 wins where its cpu controller is mounted.

    Raises:
        MissingCapability: no control groups are mounted at all.
    """
    v1: dict[str, Path] = {}
    unified: Path | None = None
    for line in mounts_file.read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and unified is None:
            unified = Path(where)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in {"cpu", "cpuacct", "freezer"}:
                    v1.setdefault(option, Path(where))
    if "cpu" in v1:
        # cpu first: what enters the last of them has entered all.
        mounts = tuple(dict.fromkeys(v1[name] for name in ("cpu", "cpuacct", "freezer") if name in v1))
        return Hierarchy(1, mounts, v1["cpu"], v1.get("cpuacct"), v1.get("freezer"))
    if unified is not None:
        controllers = unified / "cgroup.controllers"
        has_cpu = controllers.exists() and "cpu" in controllers.read_text().split()
        return Hierarchy(2, (unified,), unified if has_cpu else None, unified, unified)
    raise MissingCapability("no control groups are mounted: run `mount -t cgroup2 none /sys/fs/cgroup`")


def _write(path: Path, text: str) -> None:
    # One write(2) per value: the kernel takes each write as one command.
    with path.open("w") as file:
        file.write(text)


class Cgroups:
    """The lab's control groups. Names are paths below `faultline`; the empty name is `faultline` itself."""

    def __init__(self, hierarchy: Hierarchy | None = None, root: str = ROOT) -> None:
        """Use ``hierarchy`` (detected when not given); ``root`` must start with `faultline`."""
        if not root.startswith(ROOT) or "/" in root:
            raise LabError(f"{root!r} is not a control group of the lab: its name must start with {ROOT!r}")
        self.hierarchy = hierarchy or detect()
        self.root = root

    def paths(self, name: str = "") -> list[Path]:
        """Directory of group ``name`` in every hierarchy."""
        parts = Path(name).parts
        if ".." in parts or name.startswith("/"):
            raise LabError(f"{name!r} is not the name of a control group of the lab")
        return [mount.joinpath(self.root, *parts) for mount in self.hierarchy.mounts]

    def exists(self, name: str = "") -> bool:
        """Whether the group exists in any hierarchy."""
        return any(path.is_dir() for path in self.paths(name))

    def create(self, name: str = "", *, cores: float | None = None, weight: float = DEFAULT_WEIGHT) -> None:
        """Create group ``name`` and what is above it; harmless when it exists.

        Args:
            name: path below `faultline`.
            cores: CPU quota in cores; None leaves it without a limit of its own.
            weight: share against its neighbours when CPU is short, 1 is the kernel's default.

        Raises:
            LabError: the kernel refuses, or a quota is asked without the cpu controller.
        """
        parts = Path(name).parts
        try:
            for depth in range(len(parts) + 1):
                above = str(Path(*parts[:depth])) if depth else ""
                for path in self.paths(above):
                    path.mkdir(exist_ok=True)
                if depth == 0 and self.hierarchy.version == 2 and self.hierarchy.cpu:
                    # The cpu controller reaches the sites; below them only accounting is needed,
                    # and without it a site may hold processes itself.
                    _write(self.hierarchy.cpu / "cgroup.subtree_control", "+cpu")
                    if parts:
                        _write(self.paths("")[0] / "cgroup.subtree_control", "+cpu")
        except OSError as error:
            raise LabError(f"cannot create control group {self.root}/{name}: {error.strerror}") from error
        if weight != DEFAULT_WEIGHT:
            self._set_weight(name, weight)
        if cores is not None:
            self.set_quota(name, cores)

    def _cpu_path(self, name: str) -> Path:
        if self.hierarchy.cpu is None:
            raise MissingCapability("the cpu controller of control groups is not available on this machine")
        return self.hierarchy.cpu.joinpath(self.root, *Path(name).parts)

    def _set_weight(self, name: str, weight: float) -> None:
        path = self._cpu_path(name)
        if self.hierarchy.version == 1:
            _write(path / "cpu.shares", str(max(2, min(262144, round(1024 * weight)))))
        else:
            _write(path / "cpu.weight", str(max(1, min(10000, round(100 * weight)))))

    def set_quota(self, name: str, cores: float | None, period: float = PERIOD) -> None:
        """Limit group ``name`` to ``cores``; None takes the limit away.

        A quota below one millisecond per period is not possible, so small shares get a longer period.
        """
        path = self._cpu_path(name)
        if cores is not None and cores <= 0:
            raise LabError(f"a CPU quota must be above zero, not {cores:g} cores")
        if cores is not None:
            period = max(period, SMALLEST_QUOTA / cores)
        period_us = round(period * 1e6)
        quota_us = None if cores is None else max(1000, round(cores * period_us))
        try:
            if self.hierarchy.version == 1:
                _write(path / "cpu.cfs_quota_us", "-1")  # else a shorter period can be refused
                _write(path / "cpu.cfs_period_us", str(period_us))
                _write(path / "cpu.cfs_quota_us", str(-1 if quota_us is None else quota_us))
            else:
                _write(path / "cpu.max", f"{'max' if quota_us is None else quota_us} {period_us}")
        except OSError as error:
            raise LabError(f"cannot set the CPU quota of {self.root}/{name}: {error.strerror}") from error

    def procs_files(self, name: str = "", *, realtime: bool = False) -> list[Path]:
        """The files into which a process writes its pid to become a member of the group.

        Args:
            name: the group.
            realtime: leave the cpu controller of version 1 out: kernels with RT group scheduling
                refuse SCHED_FIFO below its root. The process is still found by the others.
        """
        paths = self.paths(name)
        if realtime and self.hierarchy.version == 1 and len(paths) > 1:
            paths = [path for path in paths if path != self._cpu_path(name)]
        return [path / "cgroup.procs" for path in paths]

    def add(self, name: str, pid: int) -> None:
        """Move process ``pid`` into the group."""
        for path in self.procs_files(name):
            _write(path, str(pid))

    def children(self, name: str = "") -> list[str]:
        """Names of the groups right below ``name``, sorted."""
        found: set[str] = set()
        for path in self.paths(name):
            with suppress(OSError):
                found |= {entry.name for entry in path.iterdir() if entry.is_dir()}
        return sorted(str(Path(name) / child) if name else child for child in found)

    def members(self, name: str) -> set[int]:
        """Processes that have entered the last of the group's hierarchies, and so all of them."""
        try:
            return {int(line) for line in self.procs_files(name)[-1].read_text().split()}
        except OSError:
            return set()

    def pids(self, name: str = "", *, recursive: bool = True) -> list[int]:
        """Processes in the group (and in the groups below it), sorted."""
        found: set[int] = set()
        for path in self.procs_files(name):
            with suppress(OSError):  # the group may go away while it is read
                found |= {int(line) for line in path.read_text().split()}
        if recursive:
            for child in self.children(name):
                found |= set(self.pids(child))
        found.discard(0)  # a process of another pid namespace
        return sorted(found)

    def signal(self, name: str, number: int) -> list[int]:
        """Send a signal to every process of the group and the groups below; return who got it."""
        reached = []
        for pid in self.pids(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                reached.append(pid)
        return reached

    def kill(self, name: str = "", timeout: float = 10.0) -> list[int]:
        """SIGKILL everything in the group and below it, again and again until nothing is left.

        Nothing can escape by forking: the group is frozen while the signals are sent (version 1),
        or the kernel kills it as one (`cgroup.kill`, version 2 since Linux 5.14).

        Returns:
            The pids that were killed.

        Raises:
            LabError: processes are left after ``timeout`` seconds (uninterruptible sleep).
        """
        killed: set[int] = set()
        deadline = time.monotonic() + timeout
        pause = 0.001
        while True:
            left = self.pids(name)
            if not left:
                return sorted(killed)
            killed |= set(left)
            self._kill_once(name)
            _reap(left)
            if time.monotonic() > deadline:
                raise LabError(f"processes {left} of {self.root}/{name} do not end: see /proc/<pid>/stack")
            time.sleep(pause)
            pause = min(0.05, pause * 2)

    def _kill_once(self, name: str) -> None:
        if self.hierarchy.version == 2:
            kill_file = self.paths(name)[0] / "cgroup.kill"
            if kill_file.exists():
                with suppress(OSError):
                    _write(kill_file, "1")
                return
            self.signal(name, signal.SIGKILL)
            return
        self.freeze(name, frozen=True)
        try:
            self.signal(name, signal.SIGKILL)
        finally:
            self.freeze(name, frozen=False)

    def freeze(self, name: str, *, frozen: bool) -> None:
        """Freeze or thaw the group; without the freezer nothing happens."""
        if self.hierarchy.freezer is None:
            return
        path = self.hierarchy.freezer.joinpath(self.root, *Path(name).parts)
        with suppress(OSError):
            if self.hierarchy.version == 1:
                _write(path / "freezer.state", "FROZEN" if frozen else "THAWED")
            else:
                _write(path / "cgroup.freeze", "1" if frozen else "0")

    def cpu_seconds(self, name: str = "") -> float:
        """CPU time used by the group and the groups below it so far, in seconds."""
        if self.hierarchy.accounting is None:
            raise MissingCapability("the cpuacct controller of control groups is not available")
        path = self.hierarchy.accounting.joinpath(self.root, *Path(name).parts)
        if self.hierarchy.version == 1:
            return int((path / "cpuacct.usage").read_text()) * 1e-9
        return _stat(path / "cpu.stat").get("usage_usec", 0) * 1e-6

    def throttled(self, name: str = "") -> Throttled:
        """How often and how long the quota held the group back so far."""
        stat = _stat(self._cpu_path(name) / "cpu.stat")
        seconds = stat.get("throttled_time", 0) * 1e-9 + stat.get("throttled_usec", 0) * 1e-6
        return Throttled(stat.get("nr_periods", 0), stat.get("nr_throttled", 0), seconds)

    def remove(self, name: str = "", timeout: float = 10.0) -> bool:
        """Kill what is in the group and remove it with all groups below; tell whether it existed.

        Raises:
            LabError: it cannot be emptied or removed within ``timeout`` seconds.
        """
        if not self.exists(name):
            return False
        deadline = time.monotonic() + timeout
        while True:
            self.kill(name, timeout=max(0.1, deadline - time.monotonic()))
            for child in self.children(name):
                self.remove(child, timeout=max(0.1, deadline - time.monotonic()))
            refused: OSError | None = None
            for path in self.paths(name):
                try:
                    path.rmdir()
                except FileNotFoundError:
                    pass
                except OSError as error:  # a process slipped in, or the kernel has not let go yet
                    refused = error
            if refused is None:
                return True
            if time.monotonic() > deadline:
                raise LabError(f"cannot remove control group {self.root}/{name}: {refused.strerror}")
            time.sleep(0.01)


@dataclass(frozen=True)
class Throttled:
    """Enforcement periods so far, those in which the quota ran out, seconds of standing still (all CPUs)."""

    periods: int
    throttled: int
    seconds: float


def _stat(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def _reap(pids: Sequence[int]) -> None:
    # Our own dead children stay in the group as zombies until somebody asks for them.
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
