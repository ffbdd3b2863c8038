"""Control groups: what is detected, what is written, what the kernel then does."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_fixtures import machine

from chaos.errors import LabError, MissingCapability
from chaos.host import cgroups, namespaces, processes
from chaos.host.cgroups import Cgroups, Hierarchy
from chaos.host.processes import Process

BUSY = [sys.executable, "-c", "while True: pass"]


class TestDetection:
    """Both versions of control groups are recognised from the mount table."""

    def detect(self, tmp_path: Path, text: str) -> Hierarchy:
        """Detect from a given mount table."""
        mounts = tmp_path / "mounts"
        mounts.write_text(text)
        return cgroups.detect(mounts)

    def test_version_1_with_controllers_mounted_apart_or_together(self, tmp_path: Path) -> None:
        """`cpu,cpuacct` on one mount is one directory, not two."""
        apart = (
            "cgroup /cg/cpu cgroup rw,cpu 0 0\ncgroup /cg/acct cgroup rw,cpuacct 0 0\n"
            "cgroup /cg/freezer cgroup rw,freezer 0 0\ncgroup2 /cg/unified cgroup2 rw 0 0\n"
        )
        found = self.detect(tmp_path, apart)
        assert found.version == 1
        assert found.mounts == (Path("/cg/cpu"), Path("/cg/acct"), Path("/cg/freezer"))
        together = "cgroup /cg/both cgroup rw,cpu,cpuacct 0 0\ncgroup /cg/freezer cgroup rw,freezer 0 0\n"
        found = self.detect(tmp_path, together)
        assert found.mounts == (Path("/cg/both"), Path("/cg/freezer"))
        assert found.cpu == found.accounting == Path("/cg/both")

    @pytest.mark.parametrize(("controllers", "has_cpu"), [("cpuset cpu io", True), ("memory pids", False)])
    def test_version_2(self, tmp_path: Path, controllers: str, has_cpu: bool) -> None:
        """One tree; the cpu controller may be withheld (in a container)."""
        (tmp_path / "cgroup.controllers").write_text(controllers)
        found = self.detect(tmp_path, f"cgroup2 {tmp_path} cgroup2 rw,nosuid 0 0\n")
        assert (found.version, found.mounts) == (2, (tmp_path,))
        assert (found.cpu == tmp_path) is has_cpu

    def test_none_at_all(self, tmp_path: Path) -> None:
        """The message has the command that mounts them."""
        with pytest.raises(MissingCapability, match="mount -t cgroup2"):
            self.detect(tmp_path, "proc /proc proc rw 0 0\n")


class TestFilesOfVersion2:
    """What is written into the unified tree, checked on ordinary files."""

    @pytest.fixture
    def groups(self, tmp_path: Path) -> Cgroups:
        """A version 2 hierarchy made of plain directories."""
        return Cgroups(Hierarchy(2, (tmp_path,), tmp_path, tmp_path, tmp_path))

    def test_quota_and_weight(self, groups: Cgroups, tmp_path: Path) -> None:
        """0.25 cores are 12.5 ms of 50 ms; the default weight is 100."""
        groups.create("ral", cores=0.25, weight=4)
        assert (tmp_path / "faultline/ral/cpu.max").read_text() == "12500 50000"
        assert (tmp_path / "faultline/ral/cpu.weight").read_text() == "400"
        groups.set_quota("ral", None)
        assert (tmp_path / "faultline/ral/cpu.max").read_text() == "max 50000"

    def test_a_small_share_gets_a_longer_period(self, groups: Cgroups, tmp_path: Path) -> None:
        """The kernel takes no quota below a millisecond."""
        groups.create("ral", cores=0.01)
        assert (tmp_path / "faultline/ral/cpu.max").read_text() == "1000 100000"

    def test_the_controller_is_handed_down_to_sites_only(self, groups: Cgroups, tmp_path: Path) -> None:
        """A group whose children have controllers could not hold processes itself."""
        groups.create("ral/db")
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
        assert (tmp_path / "faultline/cgroup.subtree_control").read_text() == "+cpu"
        assert not (tmp_path / "faultline/ral/cgroup.subtree_control").exists()

    def test_throttling_and_usage(self, groups: Cgroups, tmp_path: Path) -> None:
        """Microseconds become seconds."""
        groups.create("ral")
        (tmp_path / "faultline/ral/cpu.stat").write_text(
            "usage_usec 1500000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 250000\n"
        )
        assert groups.cpu_seconds("ral") == 1.5
        assert groups.throttled("ral") == cgroups.Throttled(10, 4, 0.25)

    def test_names_cannot_leave_the_lab(self, groups: Cgroups) -> None:
        """Neither upwards nor to another root."""
        for name in ("../system.slice", "/etc", "ral/../.."):
            with pytest.raises(LabError, match="not the name of a control group of the lab"):
                groups.paths(name)
        with pytest.raises(LabError, match="must start with 'faultline'"):
            Cgroups(groups.hierarchy, root="system.slice")

    @pytest.mark.parametrize("cores", [0.0, -1.0])
    def test_quotas_are_above_zero(self, groups: Cgroups, cores: float) -> None:
        """Zero would stop everything."""
        groups.create("ral")
        with pytest.raises(LabError, match="above zero"):
            groups.set_quota("ral", cores)


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Cgroups]:
    """The machine's own control groups."""
    with machine(tmp_path) as found:
        yield found


def mounted(detected: Cgroups) -> list[Cgroups]:
    """The detected hierarchy, and version 2 without a cpu controller where it is mounted beside version 1."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    unified = [Path(where) for _, where, kind, *_ in lines if kind == "cgroup2"]
    found = [detected]
    if detected.hierarchy.version == 1 and unified:
        found.append(Cgroups(Hierarchy(2, (unified[0],), None, unified[0], unified[0])))
    return found


@pytest.mark.lab
class TestControlGroups:
    """On the real kernel."""

    def start(self, groups: Cgroups, group: str, tmp_path: Path, argv: list[str]) -> Process:
        """Start something in a group."""
        return processes.start(argv, group=group, cgroups=groups, log=tmp_path / "log")

    def test_a_quota_of_a_fifth_gives_a_fifth_of_a_core(self, groups: Cgroups, tmp_path: Path) -> None:
        """0.2 +- 0.02 cores (facts/lab.md: 0.200), and the throttled time is counted."""
        groups.create("quota", cores=0.2)
        self.start(groups, "quota", tmp_path, BUSY)
        time.sleep(0.3)
        before, began = groups.cpu_seconds("quota"), time.monotonic()
        throttled = groups.throttled("quota")
        time.sleep(2.0)
        used = (groups.cpu_seconds("quota") - before) / (time.monotonic() - began)
        assert used == pytest.approx(0.2, abs=0.02)
        after = groups.throttled("quota")
        assert after.periods - throttled.periods == pytest.approx(2.0 / cgroups.PERIOD, rel=0.15)
        assert after.seconds - throttled.seconds > 1.0

    def test_kill_ends_a_family_that_forks_faster_than_it_dies(self, groups: Cgroups, tmp_path: Path) -> None:
        """Children, grandchildren and stopped processes alike, in every version that is mounted."""
        forker = (
            "import os, signal, time\n"
            "for _ in range(3):\n"
            "    os.fork()\n"
            "while True:\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(0.2); os._exit(0)\n"
            "    time.sleep(0.005)\n"
        )
        found = mounted(groups)
        assert found
        for version in found:
            version.create("family/child")
            self.start(version, "family", tmp_path, [sys.executable, "-c", forker])
            stopped = self.start(version, "family/child", tmp_path, ["sleep", "60"])
            time.sleep(0.3)
            processes.send(stopped, signal.SIGSTOP)
            assert len(version.pids("family")) > 8
            assert version.cpu_seconds("family") > 0
            assert len(version.kill("family")) > 8
            assert version.pids("family") == []
            assert version.remove("family")
            assert not version.remove("family")
            version.remove()
        groups.create()

    def test_a_process_that_cannot_enter_its_group_does_not_run(
        self, groups: Cgroups, tmp_path: Path
    ) -> None:
        """Outside the group nobody would find it: it ends before it becomes the daemon."""
        process = self.start(groups, "missing", tmp_path, ["touch", str(tmp_path / "ran")])
        assert processes.wait(process, 5)
        assert not (tmp_path / "ran").exists()

    def test_daemons_start_with_user_niceness_namespace_and_log(
        self, groups: Cgroups, tmp_path: Path
    ) -> None:
        """The pid is the daemon's own, whatever it went through."""
        namespaces.create("fl-test")
        groups.create("ral/db")
        script = (
            "import os, time\n"
            "links, colour = open('/proc/net/dev').read().count(':'), os.environ['COLOUR']\n"
            "print(os.getpid(), os.getuid(), os.nice(0), links, colour, os.getcwd(), flush=True)\n"
            "time.sleep(60)"
        )
        tmp_path.chmod(0o755)
        process = processes.start(
            ["/usr/bin/python3", "-c", script],
            group="ral/db",
            cgroups=groups,
            log=tmp_path / "log",
            namespace="fl-test",
            user="nobody",
            nice=5,
            env={"COLOUR": "blue"},
            cwd=Path("/usr"),
        )
        deadline = time.monotonic() + 10
        while not (tmp_path / "log").read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.05)
        pid, uid, nice, links, colour, where = (tmp_path / "log").read_text().split()
        assert int(pid) == process.pid
        assert (uid, nice, links, colour, where) == ("65534", "5", "1", "blue", "/usr")
        assert groups.pids("ral") == [process.pid]
        assert processes.stop(process)

    def test_a_missing_program_is_a_missing_capability(self, groups: Cgroups, tmp_path: Path) -> None:
        """Nothing was started."""
        with pytest.raises(MissingCapability, match="no-such-daemon is not installed"):
            self.start(groups, "", tmp_path, ["no-such-daemon"])
