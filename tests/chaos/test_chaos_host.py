"""Commands, processes and namespaces of the machine."""

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
from chaos.host import namespaces, processes, remains
from chaos.host.cgroups import Cgroups
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
