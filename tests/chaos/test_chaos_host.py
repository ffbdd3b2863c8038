"""Namespaces, control groups and processes; and what the machine is found to have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_fixtures import machine

from chaos.errors import LabError, MissingCapability
from chaos.host import capabilities, cgroups, namespaces, processes, remains
from chaos.host.cgroups import Cgroups, Hierarchy
from chaos.host.commands import run
from chaos.host.processes import Process

BUSY = [sys.executable, "-c", "while True: pass"]


class TestCommands:
    """Failures of the machine's tools become lab errors in words."""

    def test_a_failure_carries_the_tool_s_own_words(self) -> None:
        """The last line it said, and its exit status."""
        with pytest.raises(LabError, match=r"failed \(3\): no such thing"):
            run(["sh", "-c", "echo hello; echo no such thing >&2; exit 3"])

    def test_a_missing_tool_is_a_missing_capability(self) -> None:
        """With the way to find out how to get it."""
        with pytest.raises(MissingCapability, match="faultline doctor"):
            run(["faultline-no-such-tool"])

    def test_a_tool_that_hangs_is_given_up(self) -> None:
        """Every run is bounded in time."""
        with pytest.raises(LabError, match=r"did not end within 0\.1 s"):
            run(["sleep", "5"], timeout=0.1)


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


class TestProcessIdentity:
    """A process is its pid and its start time."""

    def test_a_reused_pid_is_another_process(self) -> None:
        """Nothing is sent to whoever has the pid now."""
        me = Process.of(os.getpid())
        assert me is not None
        assert processes.is_alive(me)
        other = Process(me.pid, me.started + 1)
        assert not processes.is_alive(other)
        assert not processes.send(other, signal.SIGKILL)

    def test_a_zombie_is_not_alive(self) -> None:
        """It has ended; only its parent has not asked yet."""
        with subprocess.Popen(["true"]) as child:
            process = Process.of(child.pid)
            assert process is not None
            assert processes.wait(process, 5)

    def test_stop_kills_what_ignores_sigterm(self) -> None:
        """And says that it had to; a stopped process that does listen ends on the first signal."""
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            process = Process.of(child.pid)
            assert process is not None
            assert not processes.stop(process, grace=0.2)
        with subprocess.Popen(["sleep", "60"]) as child:
            process = Process.of(child.pid)
            assert process is not None
            os.kill(child.pid, signal.SIGSTOP)
            assert processes.stop(process, grace=5)

    def test_cpu_seconds_count_all_threads(self) -> None:
        """A quarter of a second of work in a second thread is seen, to a few milliseconds."""
        script = (
            "import threading, time\n"
            "def work():\n"
            "    while time.thread_time() < 0.25: pass\n"
            "    print(flush=True); time.sleep(60)\n"
            "threading.Thread(target=work).start()"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            process = Process.of(child.pid)
            assert process is not None
            assert 0.25 <= processes.cpu_seconds(process) < 0.6
            child.kill()


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


@pytest.mark.lab
class TestNamespaces:
    """On the real kernel."""

    def test_only_names_with_the_prefix(self, groups: Cgroups) -> None:
        """Everybody else's namespaces are out of reach."""
        for operation in (namespaces.create, namespaces.delete):
            with pytest.raises(LabError, match="must start with 'fl-'"):
                operation("production")

    def test_create_enter_delete(self, groups: Cgroups) -> None:
        """`lo` is up inside, the caller's own network is back afterwards."""
        here = os.readlink("/proc/thread-self/ns/net")  # noqa: PTH115
        namespaces.create("fl-test")
        assert namespaces.names() == ["fl-test"]
        with namespaces.entered("fl-test"):
            assert os.readlink("/proc/thread-self/ns/net") != here  # noqa: PTH115
            assert Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
        assert os.readlink("/proc/thread-self/ns/net") == here  # noqa: PTH115
        assert run(namespaces.argv_inside("fl-test", ["ping", "-c1", "-W1", "127.0.0.1"])).returncode == 0
        assert namespaces.delete("fl-test")
        assert not namespaces.delete("fl-test")

    def test_the_network_of_a_process_can_be_entered(self, groups: Cgroups) -> None:
        """As a pod's is, which has no name; a process that has ended has none."""
        namespaces.create("fl-test")
        inside = subprocess.Popen(namespaces.argv_inside("fl-test", ["sleep", "60"]))
        try:
            with namespaces.entered("fl-test"):
                there = os.readlink("/proc/thread-self/ns/net")  # noqa: PTH115
            deadline = time.monotonic() + 5.0
            while os.readlink(f"/proc/{inside.pid}/ns/net") != there:  # noqa: PTH115
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with namespaces.entered(namespaces.of_process(inside.pid)):
                assert os.readlink("/proc/thread-self/ns/net") == there  # noqa: PTH115
        finally:
            inside.kill()
            inside.wait()
            namespaces.delete("fl-test")
        with (
            pytest.raises(LabError, match="no namespace"),
            namespaces.entered(namespaces.of_process(inside.pid)),
        ):
            pytest.fail("entered the network of a dead process")

    def test_a_half_created_namespace_is_found_and_deleted(self, groups: Cgroups) -> None:
        """`ip netns add` killed between making the file and mounting on it."""
        (namespaces.RUN / "fl-half").touch()
        assert namespaces.names() == ["fl-half"]
        assert namespaces.delete("fl-half")
        assert namespaces.names() == []

    def test_entering_a_missing_namespace_says_so(self, groups: Cgroups) -> None:
        """And leaves the thread where it is."""
        with pytest.raises(LabError, match="there is no namespace fl-none"), namespaces.entered("fl-none"):
            pytest.fail("entered a namespace that does not exist")


class TestRemains:
    """What a dead lab leaves is recognised by its place and prefix."""

    def test_mounts_below_a_directory_the_last_first(self) -> None:
        """Neighbours with a similar name are not below; blanks are written as octal."""
        text = (
            "21 1 0:1 / / rw - ext4 /dev/root rw\n"
            "22 21 0:2 / /var/lib/faultline/lab/a rw - tmpfs none rw\n"
            "23 21 0:3 / /var/lib/faultline/lab/a/b\\040c rw - tmpfs none rw\n"
            "24 21 0:4 / /var/lib/faultline/labyrinth rw - tmpfs none rw\n"
        )
        found = remains.mounts_below(Path("/var/lib/faultline/lab"), text)
        assert found == [Path("/var/lib/faultline/lab/a/b c"), Path("/var/lib/faultline/lab/a")]


class TestCapabilities:
    """What is missing comes with the command that gets it."""

    def test_a_missing_program_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As an apt command, through sudo for everybody but root."""
        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        found = {one.name: one for one in capabilities.missing()}
        assert found["mariadbd"].remedy == "`sudo apt-get install --no-install-recommends mariadb-server`"
        with pytest.raises(MissingCapability, match="haproxy is missing: `sudo apt-get install"):
            capabilities.require()

    def test_root_means_the_two_capabilities(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root without them (in a container) is told so; others are told to use sudo."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert capabilities._root("CapEff:\t000001ffffffffff\n").present
        lacking = capabilities._root("CapEff:\t00000000a80425fb\n")
        assert not lacking.present
        assert "--privileged" in lacking.remedy
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "sudo -E" in capabilities._root("CapEff:\t0000000000000000\n").remedy

    @pytest.mark.parametrize(
        ("listing", "text", "expected"),
        [
            ("modules.builtin", "kernel/drivers/net/wireguard/fl_dummy.ko\n", True),
            ("modules.dep", "kernel/net/fl_dummy.ko.zst: kernel/lib/x.ko.zst\n", True),
            ("modules.dep", "kernel/net/other.ko: kernel/net/fl_dummy2.ko\n", False),
        ],
    )
    def test_kernel_modules_are_found_without_loading_them(
        self, tmp_path: Path, listing: str, text: str, expected: bool
    ) -> None:
        """Built in or on disk, compressed or not."""
        (tmp_path / "6.1").mkdir()
        (tmp_path / "6.1" / listing).write_text(text)
        assert capabilities.has_module("fl_dummy", "6.1", tmp_path) is expected

    def test_wireguard_is_there_in_the_kernel_or_beside_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without either, the package of the user-space one is named."""
        monkeypatch.setattr(capabilities, "has_module", lambda name: True)
        assert "in the kernel" in capabilities._wireguard(versions=False).detail
        monkeypatch.setattr(capabilities, "has_module", lambda name: False)
        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        found = capabilities._wireguard(versions=False)
        assert not found.present
        assert "install --no-install-recommends wireguard-go" in found.remedy

    def test_python_packages_are_those_of_the_project_s_own_metadata(self) -> None:
        """Every requirement of the `lab` extra, none of the others."""
        found = {one.name for one in capabilities._python()}
        assert "python package pymysql" in found
        assert not found & {"python package simpy", "python package hypothesis"}
        assert capabilities._python("no-such-extra") == []

    @pytest.mark.lab
    def test_this_machine_can_run_the_lab_and_says_with_what(self) -> None:
        """Where lab tests run nothing is missing, and every daemon tells its version."""
        found = {one.name: one for one in capabilities.survey()}
        for name in ("mariadbd", "redis-server", "haproxy", "nginx", "gdnsd"):
            assert found[name].present
            assert found[name].detail[0].isdigit(), name
        capabilities.require()


def test_a_command_dies_with_its_caller(tmp_path: Path) -> None:
    """SIGKILL of the caller ends the command it waits for, so nothing is made behind a heal's back."""
    script = tmp_path / "caller.py"
    script.write_text("from chaos.host.commands import run\nrun(['sleep', '57.3'], timeout=60)\n")
    caller = subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    )

    def sleeping() -> bool:
        return subprocess.run(["pgrep", "-f", "^sleep 57.3"], capture_output=True).returncode == 0

    try:
        deadline = time.monotonic() + 10
        while not sleeping():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        caller.kill()
        caller.wait()
    deadline = time.monotonic() + 5
    while sleeping():
        assert time.monotonic() < deadline
        time.sleep(0.05)
