"""After any crash `heal` puts the machine back, and touches nothing else."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_fixtures import leftovers, machine, processes_mentioning

from chaos.errors import LabBusy, LabError
from chaos.faults.context import Inverse
from chaos.heal import MARKER, heal, prepare_directory
from chaos.host import namespaces, processes
from chaos.host.cgroups import Cgroups
from chaos.lock import LabLock
from chaos.undo import UndoLog
from chaos.wan.links import Wan

SESSION = textwrap.dedent(
    """
    # A lab in small: network, one daemon per site, faults injected and taken back, again and again.
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from wan_topologies import triangle
    from chaos.faults import registry
    from chaos.faults.context import Component
    from chaos.heal import heal, prepare_directory
    from chaos.host import processes
    from chaos.host.cgroups import Cgroups
    from chaos.host.processes import Process
    from chaos.lock import LabLock
    from chaos.undo import UndoLog
    from chaos.wan.links import Wan
    from experiments.faults import Kill, Partition, Pause

    directory = Path(sys.argv[1])

    class Lab:
        def __init__(self, wan, groups):
            self.wan, self.groups = wan, groups
        def components(self):
            return [Component("db", site) for site in self.wan.sites()]
        def processes(self, component):
            found = [Process.of(pid) for pid in self.groups.pids(component.site)]
            return [process for process in found if process and processes.is_alive(process)]
        def restart(self, component):
            processes.start(["sleep", "4321"], group=component.site + "/db", cgroups=self.groups,
                            log=directory / "db" / "log", namespace="fl-" + component.site)

    with LabLock(directory):
        print("begin", flush=True)
        while True:
            heal(directory)
            prepare_directory(directory)
            groups, log = Cgroups(), UndoLog(directory / "undo.jsonl")
            wan = Wan(triangle("4ms"), directory, groups)
            lab = Lab(wan, groups)
            wan.up()
            for component in lab.components():
                groups.create(component.site + "/db", cores=0.5)
                lab.restart(component)
            print("up", flush=True)
            cut = Partition(isolate=["edi"], path="all")
            for fault in (Pause(target="db@ral"), cut, Kill(target="db@cam")):
                record = registry.inject(lab, log, fault)
                time.sleep(0.02)
                registry.undo(lab, log, record)
            wan.down()
            print("down", flush=True)
    """
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A lab directory that does not exist yet."""
    return tmp_path / "lab"


@pytest.fixture
def groups(directory: Path) -> Iterator[Cgroups]:
    """A clean machine."""
    with machine(directory) as found:
        yield found


class TestDirectory:
    """Only a marked directory is cleared."""

    def test_a_foreign_directory_is_refused_and_left_alone(self, directory: Path) -> None:
        """FAULTLINE_LAB_DIR=/home/me must not end in an empty home."""
        directory.mkdir()
        (directory / "thesis.tex").write_text("chapter 1")
        with pytest.raises(LabError, match="is not empty and not a lab directory"):
            prepare_directory(directory)
        assert (directory / "thesis.tex").read_text() == "chapter 1"
        assert not (directory / MARKER).exists()

    def test_an_empty_or_marked_directory_becomes_the_lab_s(self, directory: Path) -> None:
        """Twice is harmless."""
        prepare_directory(directory)
        (directory / "state.json").write_text("{}")
        prepare_directory(directory)
        assert (directory / "state.json").exists()


@pytest.mark.lab
class TestHeal:
    """On the real machine."""

    def test_a_clean_machine_needs_nothing(self, directory: Path) -> None:
        """Nothing is done, nothing is said."""
        heal(directory)
        assert heal(directory) == []

    def test_everything_of_a_lab_goes(self, directory: Path, groups: Cgroups, tmp_path: Path) -> None:
        """Stopped processes, namespaces, control groups, sockets, mounts, files; twice is harmless."""
        from wan_topologies import triangle

        network = Wan(triangle(), directory, groups)
        network.up()
        groups.create("ral/db")
        process = processes.start(
            ["sleep", "4321"],
            group="ral/db",
            cgroups=groups,
            log=directory / "db" / "log",
            namespace="fl-ral",
        )
        processes.send(process, signal.SIGSTOP)
        (directory / "mnt").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", directory / "mnt"], check=True)
        done = heal(directory)
        assert leftovers() == []
        assert processes_mentioning(str(directory)) == []
        assert not processes.is_alive(process)
        assert str(directory) not in Path("/proc/self/mounts").read_text()
        assert not directory.exists()
        assert "removed namespace fl-ral" in done
        assert any(line.startswith("killed ") for line in done)
        assert heal(directory) == []

    def test_nothing_without_the_prefix_is_touched(
        self, directory: Path, groups: Cgroups, tmp_path: Path
    ) -> None:
        """A namespace, a process and a file of somebody else survive."""
        subprocess.run(["ip", "netns", "add", "other-fl-ns"], check=True)
        (tmp_path / "mine.txt").write_text("keep")
        (directory / "link").symlink_to(tmp_path / "mine.txt")
        (directory / "home").symlink_to(tmp_path)
        try:
            with subprocess.Popen(["ip", "netns", "exec", "other-fl-ns", "sleep", "60"]) as other:
                heal(directory)
                assert other.poll() is None
                other.kill()
            listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
            assert "other-fl-ns" in listed.stdout
            assert (tmp_path / "mine.txt").read_text() == "keep"
        finally:
            subprocess.run(["ip", "netns", "delete", "other-fl-ns"], check=True)

    def test_an_unmarked_directory_keeps_its_files(self, directory: Path, tmp_path: Path) -> None:
        """Heal says so; an empty one (killed before the marker) goes."""
        heal(directory)
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        (foreign / "file").touch()
        assert heal(foreign) == [f"left {foreign} alone: it is not marked as a lab directory"]
        assert (foreign / "file").exists()
        empty = tmp_path / "empty"
        empty.mkdir()
        heal(empty)
        assert not empty.exists()

    def test_logs_can_be_kept(self, directory: Path, groups: Cgroups) -> None:
        """Logs, the undo log and the state stay; data and sockets go."""
        for name in (
            "db/ral/log",
            "wan/relay.log",
            "db/ral/data/ibdata1",
            "db/ral/mysqld.sock",
            "state.json",
        ):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).touch()
        UndoLog(directory / "undo.jsonl").record(Inverse("heal", {"name": "x"}))
        heal(directory, keep_logs=True)
        kept = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
        assert kept == [MARKER, "db/ral/log", "state.json", "undo.jsonl", "wan/relay.log"]

    def test_pending_faults_are_taken_back_or_explained(self, directory: Path, groups: Cgroups) -> None:
        """A stopped process goes on even outside the lab's groups; what needs the session is left."""
        log = UndoLog(directory / "undo.jsonl")
        with subprocess.Popen(["sleep", "60"]) as child:
            process = processes.Process.of(child.pid)
            assert process is not None
            processes.send(process, signal.SIGSTOP)
            log.record(Inverse("restart", {"components": [["db", "edi", 0]]}), note="kill db@edi")
            log.record(Inverse("continue", {"components": [], "processes": [process.data()]}), note="pause")
            log.record(Inverse("heal", {"name": "fault-3"}), note="cut")
            log.record(Inverse("from-the-future", {}))
            with log.path.open("ab") as file:
                file.write(b'{"id": 5, "inver')
            done = heal(directory, keep_logs=True)
            time.sleep(0.05)
            assert not processes.is_stopped(process)
            child.kill()
        said = {line.partition(":")[0]: line for line in done if line.startswith("fault ")}
        assert list(said) == [
            "fault 4 (from-the-future)",
            "fault 3 (cut)",
            "fault 2 (pause)",
            "fault 1 (kill db@edi)",
        ]
        assert "continued 1 processes" in said["fault 2 (pause)"]
        assert "left to the removal of the lab" in said["fault 3 (cut)"]
        assert log.pending() == []

    @pytest.mark.parametrize("rubbish", [b"rubbish\nmore\n", b'{"id": "x"}\n{"done": null}\n', b"\0\0\0\n\n"])
    def test_an_unreadable_undo_log_does_not_stop_it(
        self, directory: Path, groups: Cgroups, rubbish: bytes
    ) -> None:
        """The lab is removed all the same."""
        (directory / "undo.jsonl").write_bytes(rubbish)
        namespaces.create("fl-ral")
        heal(directory)
        assert leftovers() == []
        assert not directory.exists()

    def test_the_directory_of_a_dead_owner_is_healed_too(
        self, groups: Cgroups, directory: Path, tmp_path: Path
    ) -> None:
        """A lab that was started with another FAULTLINE_LAB_DIR."""
        other, lock = tmp_path / "other", tmp_path / "lab.lock"
        prepare_directory(other)
        script = "import sys; from pathlib import Path; from chaos.lock import LabLock\n"
        script += (
            "LabLock(Path(sys.argv[1]), Path(sys.argv[2])).acquire(); import os; os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", script, other, lock], check=False)
        heal(directory, lock=lock)
        assert not other.exists()

    def test_a_running_session_is_not_healed_away(self, directory: Path, tmp_path: Path) -> None:
        """The refusal names it; its namespace stays."""
        lock = tmp_path / "lab.lock"
        script = "import sys; from pathlib import Path; from chaos.lock import LabLock\n"
        script += (
            "LabLock(Path('/x'), Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as session:
            assert session.stdout is not None
            session.stdout.readline()
            with pytest.raises(LabBusy, match=f"pid {session.pid}"):
                heal(directory, lock=lock)
            session.kill()


@pytest.mark.lab
@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_nothing(directory: Path, tmp_path: Path) -> None:
    """SIGKILL anywhere in up, inject, undo and down: heal removes every trace, ten times in a row."""
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    with LabLock(directory):
        heal(directory)
    moments = random.Random(20)
    reached: set[str] = set()
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, script, directory, Path(__file__).parent],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as session:
            assert session.stdout is not None
            assert session.stderr is not None
            assert session.stdout.readline() == "begin\n", session.stderr.read()
            time.sleep(moments.uniform(0.0, 1.5))
            assert session.poll() is None, session.stderr.read()
            session.kill()
            reached |= set(session.stdout.read().split())
        heal(directory)
        assert leftovers() == []
        assert processes_mentioning("sleep 4321") == []
        assert processes_mentioning(str(directory)) == []
        assert not directory.exists()
    assert {"up", "down"} <= reached, "the kills never came late enough to mean anything"
