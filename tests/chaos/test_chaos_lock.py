"""One lab per machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from chaos.errors import LabBusy, LabError
from chaos.host.processes import Process
from chaos.lock import LabLock

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom chaos.lock import LabLock\n"
    "lock = LabLock(Path('/tmp/other-lab'), Path(sys.argv[1])).acquire()\n"
    "print('held', flush=True)\nsys.stdin.read()\n"
)
ANNOUNCE = "print('held', flush=True)"
FORKING = HOLD.replace(ANNOUNCE, f"import os\nif os.fork() == 0:\n    time.sleep(60)\n{ANNOUNCE}")


@contextmanager
def holder(path: Path, script: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A lock file that does not exist yet."""
    return tmp_path / "run" / "lab.lock"


class TestExclusion:
    """Two labs cannot run at once by accident."""

    def test_a_live_owner_refuses_others_and_is_named(self, path: Path) -> None:
        """The message says who it is, where its lab is and what to do."""
        with holder(path) as other, pytest.raises(LabBusy) as refusal:
            LabLock(Path("/tmp/mine"), path).acquire()
        text = str(refusal.value)
        assert f"pid {other.pid}" in text
        assert "/tmp/other-lab" in text
        assert f"kill {other.pid}" in text
        assert "faultline heal" in text

    def test_a_live_session_is_not_taken_over(self, path: Path) -> None:
        """Not even by heal."""
        with holder(path), pytest.raises(LabBusy):
            LabLock(Path("/tmp/mine"), path).acquire(take_over=True)

    def test_a_process_may_take_its_own_lock_again(self, path: Path) -> None:
        """A session heals inside its own lock; only the last release lets others in."""
        first = LabLock(Path("/tmp/mine"), path).acquire()
        with LabLock(Path("/tmp/mine"), path):
            pass
        check = [sys.executable, "-c", HOLD, str(path)]
        refused = subprocess.run(check, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert "LabBusy" in refused.stderr
        first.release()
        taken = subprocess.run(check, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert taken.stdout == "held\n"

    def test_a_released_lock_has_no_owner(self, path: Path) -> None:
        """And the next owner finds nothing stale."""
        with LabLock(Path("/tmp/mine"), path) as lock:
            owner = lock.owner()
            assert owner is not None
            assert owner.pid == os.getpid()
        assert lock.owner() is None
        with LabLock(Path("/tmp/mine"), path) as lock:
            assert lock.stale is None


class TestStale:
    """An owner that is gone loses the lock."""

    def test_the_lock_of_a_killed_owner_is_recovered(self, path: Path) -> None:
        """And tells whose lab has to be cleaned up."""
        with holder(path) as other:
            other.kill()
            other.wait()
            with LabLock(Path("/tmp/mine"), path) as lock:
                assert lock.stale is not None
                assert (lock.stale.pid, lock.stale.lab_dir) == (other.pid, "/tmp/other-lab")
                with LabLock(Path("/tmp/mine"), path) as again:
                    assert again.stale == lock.stale

    def test_a_child_that_outlives_the_owner_does_not_keep_it(self, path: Path) -> None:
        """The descriptor is inherited over fork; the owner's death counts all the same."""
        with holder(path, FORKING) as other:
            other.kill()
            other.wait()
            with LabLock(Path("/tmp/mine"), path) as lock:
                owner = lock.owner()
                assert owner is not None
                assert owner.pid == os.getpid()
                with pytest.raises(subprocess.CalledProcessError):
                    subprocess.run(
                        [sys.executable, "-c", HOLD, str(path)],
                        check=True,
                        capture_output=True,
                        stdin=subprocess.DEVNULL,
                    )

    def test_a_pid_that_was_given_to_somebody_else_is_not_the_owner(self, path: Path) -> None:
        """Pid 1 runs, but it did not start when the owner did."""
        path.parent.mkdir()
        path.write_text(json.dumps({"pid": 1, "started": 1, "command": "faultline run", "lab_dir": "/x"}))
        with LabLock(Path("/tmp/mine"), path) as lock:
            assert lock.stale is not None

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\0\0\0"])
    def test_a_half_written_file_is_nobody_s(self, path: Path, text: str) -> None:
        """Killed while writing its name, the owner is gone as well."""
        path.parent.mkdir()
        path.write_text(text)
        with LabLock(Path("/tmp/mine"), path) as lock:
            assert lock.stale is None


class TestStanding:
    """A lab that stays up after its command belongs to one of its own processes."""

    def test_it_refuses_runs_and_yields_to_heal(self, path: Path) -> None:
        """The refusal names the command that takes it down."""
        with subprocess.Popen(["sleep", "60"]) as daemon:
            try:
                process = Process.of(daemon.pid)
                assert process is not None
                LabLock(Path("/tmp/mine"), path).acquire().hand_over(process)
                with pytest.raises(LabBusy, match="faultline lab down"):
                    LabLock(Path("/tmp/mine"), path).acquire()
                with LabLock(Path("/tmp/mine"), path).acquire(take_over=True) as lock:
                    assert lock.stale is not None
                    assert lock.stale.standing
                    lock.release()
            finally:
                daemon.kill()

    def test_it_ends_with_its_process(self, path: Path) -> None:
        """When the relay is gone, so is the lab."""
        with subprocess.Popen(["sleep", "60"]) as daemon:
            process = Process.of(daemon.pid)
            assert process is not None
            LabLock(Path("/tmp/mine"), path).acquire().hand_over(process)
            daemon.kill()
        with LabLock(Path("/tmp/mine"), path) as lock:
            assert lock.stale is not None

    def test_only_the_holder_can_hand_it_over(self, path: Path) -> None:
        """Anything else is a mistake of the program."""
        with pytest.raises(LabError, match="not held"):
            LabLock(Path("/tmp/mine"), path).hand_over(Process(1, 1))


def test_a_lock_that_cannot_be_created_says_why(tmp_path: Path) -> None:
    """The path runs through a file."""
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot open"):
        LabLock(Path("/tmp/mine"), tmp_path / "file" / "lab.lock").acquire()
