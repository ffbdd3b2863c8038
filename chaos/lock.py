"""One lab per machine: who has it, and what to do when somebody else has.

Namespaces and control groups belong to the machine, so the lock does too (`/run/faultline/lab.lock`),
wherever the lab's directory is. The file is held with flock by a live owner; it also names the
owner (pid and start time), so that a lab that stays up after its command has ended (`faultline
lab up`) can be handed to a process that stays, and so that the refusal can say who it is. An
owner that is gone loses the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from chaos.errors import LabBusy, LabError
from chaos.host.processes import Process, is_alive

MACHINE_LOCK = Path("/run/faultline/lab.lock")


@dataclass(frozen=True)
class Owner:
    """Who has the lab.

    Attributes:
        pid, started: the process, see chaos.host.processes.Process.
        command: its command line, for people.
        lab_dir: the directory of its lab.
        standing: a lab left up on purpose: `pid` is one of its own processes.
    """

    pid: int
    started: int
    command: str
    lab_dir: str
    standing: bool = False

    @property
    def process(self) -> Process:
        """The owning process."""
        return Process(self.pid, self.started)


class LabLock:
    """The machine's lab lock. Use as a context manager, or `acquire` and `release`.

    A process that already holds it may acquire it again (a session heals inside its own lock).
    """

    _held: ClassVar[dict[Path, tuple[int, int, Owner | None]]] = {}
    """Locks of this process: path -> (descriptor, how often acquired, stale owner found)."""

    def __init__(self, lab_dir: Path, path: Path = MACHINE_LOCK) -> None:
        """Prepare the lock for a lab in ``lab_dir``."""
        self.lab_dir = lab_dir
        self.path = path
        self.stale: Owner | None = None

    def owner(self) -> Owner | None:
        """Who the file names, alive or not; None when nobody does or the file is unreadable."""
        try:
            return Owner(**json.loads(self.path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def acquire(self, *, take_over: bool = False) -> LabLock:
        """Take the lock; `stale` then tells whose it was if that owner is gone.

        Args:
            take_over: also take a standing lab (for `heal` and `lab down`); never that of a
                session that is still running.

        Raises:
            LabBusy: somebody else has the lab.
            LabError: the lock file cannot be created.
        """
        if self.path in self._held:
            descriptor, count, self.stale = self._held[self.path]
            self._held[self.path] = (descriptor, count + 1, self.stale)
            return self
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                owner = self.owner()
                if owner is None or is_alive(owner.process):
                    raise LabBusy(self._refusal(owner)) from None
                # Dead, yet held: a child of the dead owner still has the descriptor. Let it keep
                # the old file and start a new one.
                self.path.unlink(missing_ok=True)
                continue
            if self._is_current(descriptor):
                break
            os.close(descriptor)
        previous = self.owner()
        lives = previous is not None and previous.pid != os.getpid() and is_alive(previous.process)
        if previous is not None and lives and not (take_over and previous.standing):
            os.close(descriptor)
            raise LabBusy(self._refusal(previous))
        self.stale = previous
        self._held[self.path] = (descriptor, 1, previous)
        me = Process.of(os.getpid())
        assert me is not None
        self._write(Owner(me.pid, me.started, " ".join(sys.argv), str(self.lab_dir)))
        return self

    def hand_over(self, process: Process) -> None:
        """Leave the lab standing in the name of ``process`` (one of its own) and let go of the lock.

        Raises:
            LabError: this process does not hold the lock.
        """
        if self.path not in self._held:
            raise LabError("the lab's lock is not held by this process")
        self._write(Owner(process.pid, process.started, " ".join(sys.argv), str(self.lab_dir), standing=True))
        descriptor, _, _ = self._held.pop(self.path)
        os.close(descriptor)

    def release(self) -> None:
        """Let go; the last release of a process empties the file. Harmless when not held."""
        if self.path not in self._held:
            return
        descriptor, count, stale = self._held[self.path]
        if count > 1:
            self._held[self.path] = (descriptor, count - 1, stale)
            return
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
        del self._held[self.path]
        os.close(descriptor)

    def __enter__(self) -> LabLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LabError(f"cannot open {self.path}: {error.strerror}; the local lab needs root") from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _write(self, owner: Owner) -> None:
        # Replaced in place: a rename would take the flock away from under the path.
        descriptor, _, _ = self._held[self.path]
        text = json.dumps(asdict(owner)).encode()
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))
        os.fsync(descriptor)

    def _refusal(self, owner: Owner | None) -> str:
        if owner is None:
            return f"another lab runs on this machine (lock {self.path}): wait until it ends"
        if owner.standing:
            return (
                f"a lab is up on this machine in {owner.lab_dir} (started by `{owner.command}`): "
                "take it down with `faultline lab down`"
            )
        return (
            f"another lab runs on this machine: pid {owner.pid} (`{owner.command}`) in {owner.lab_dir}; "
            f"wait until it ends, or stop it with `kill {owner.pid}` and then run `faultline heal`"
        )
