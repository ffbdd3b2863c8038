"""Daemons of the lab: started inside a namespace and a control group, known by (pid, start time).

A pid alone may have been given to somebody else in the meantime; with the time at which the kernel
started it, it is never mistaken. Nothing is ever ended by name.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import LabError, MissingCapability
from chaos.host import namespaces
from chaos.host.cgroups import Cgroups

# The process itself enters the groups, before anything else: when whoever starts it is killed at
# that moment, it is either in the group, where `heal` finds it, or it has not begun and ends here.
_ENTER = (
    'set -e; n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1"; shift; n=$((n-1)); done; '
    'cd "$1"; shift; exec "$@"'
)

_ENTRY_PATIENCE = 10.0


@dataclass(frozen=True)
class Process:
    """One running (or once running) process.

    Attributes:
        pid: process id.
        started: start time in clock ticks since boot (field 22 of /proc/<pid>/stat).
    """

    pid: int
    started: int

    def data(self) -> list[int]:
        """As plain data for state files and undo records."""
        return [self.pid, self.started]

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has ``pid`` now; None when there is none."""
        stat = _stat(pid)
        return None if stat is None else cls(pid, stat[1])


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the command may hold blanks and parentheses
    return fields[0], int(fields[19])


def start(
    argv: Sequence[str],
    *,
    group: str,
    cgroups: Cgroups,
    log: Path,
    namespace: str | None = None,
    user: str | None = None,
    cpu: int | None = None,
    nice: int | None = None,
    realtime: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path = Path("/"),
) -> Process:
    """Start a daemon in the foreground of its own session, detached from this process's terminal.

    Args:
        argv: command and arguments; a bare name is looked up on the PATH.
        group: name of an existing control group below `faultline`.
        cgroups: where that group is.
        log: file to which standard output and error are appended.
        namespace: network namespace; this process's own when not given.
        user: runs as this user (with its groups) instead of root.
        cpu: the only CPU it may run on.
        nice: niceness.
        realtime: the process will ask for real-time scheduling itself, so it stays out of CPU
            quotas and weights (control groups version 1 forbid the combination).
        env: variables set on top of the caller's environment.
        cwd: working directory.

    Returns:
        The process; its pid stays the same through all of the above (each step is an exec).

    Raises:
        MissingCapability: the command is not installed.
        LabError: it cannot be started.
    """
    environment = {**os.environ, **(env or {})}
    command = shutil.which(argv[0], path=environment.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if command is None:
        raise MissingCapability(f"{argv[0]} is not installed: run `faultline doctor` for the command")
    line: list[str] = [command, *argv[1:]]
    if user is not None:
        try:
            group_id = pwd.getpwnam(user).pw_gid
        except KeyError as error:
            raise MissingCapability(f"there is no user {user}: install the package of {argv[0]}") from error
        line = ["setpriv", f"--reuid={user}", f"--regid={group_id}", "--init-groups", "--", *line]
    if cpu is not None:
        line = ["taskset", "--cpu-list", str(cpu), *line]
    if nice is not None:
        line = ["nice", "-n", str(nice), *line]
    if namespace is not None:
        line = namespaces.argv_inside(namespace, line)
    procs = [str(path) for path in cgroups.procs_files(group, realtime=realtime)]
    shell = ["/bin/sh", "-c", _ENTER, "sh", str(len(procs)), *procs, str(cwd), *line]
    log.parent.mkdir(parents=True, exist_ok=True)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            shell[0],
            shell,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP],
        )
    except OSError as error:
        raise LabError(f"cannot start {argv[0]}: {error.strerror}") from error
    process = Process.of(pid)
    if process is None:  # pragma: no cover - a child of ours cannot be reaped by anybody else
        raise LabError(f"{argv[0]} ended at once: see {log}")
    # From here on the group is how the process is found: by faults, by accounting, by `heal`.
    deadline = time.monotonic() + _ENTRY_PATIENCE
    while pid not in cgroups.members(group) and is_alive(process):
        if time.monotonic() > deadline:
            send(process, signal.SIGKILL)
            raise LabError(f"{argv[0]} does not get into its control group {group}: see {log}")
        time.sleep(0.0005)
    return process


def is_alive(process: Process) -> bool:
    """Whether that very process still runs (a stopped one does, a zombie does not)."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.started and stat[0] not in "ZX"


def is_stopped(process: Process) -> bool:
    """Whether that very process is stopped by SIGSTOP."""
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.started and stat[0] == "T"


def send(process: Process, number: int) -> bool:
    """Send a signal to that very process; False when it is gone."""
    if not is_alive(process):
        return False
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
        return True
    return False


def wait(process: Process, timeout: float) -> bool:
    """Wait until the process has ended; False when it still runs after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(0.05, pause * 2)
    return True


def stop(process: Process, grace: float = 5.0) -> bool:
    """Ask the process to end (SIGTERM), kill it after ``grace`` seconds; True when it obeyed the first."""
    send(process, signal.SIGTERM)
    send(process, signal.SIGCONT)  # a stopped process hears SIGTERM only when it runs
    if wait(process, grace):
        return True
    send(process, signal.SIGKILL)
    if not wait(process, 5.0):
        raise LabError(f"process {process.pid} does not end on SIGKILL: see /proc/{process.pid}/stack")
    return False


def stop_all(found: Iterable[Process], grace: float = 5.0) -> None:
    """Stop several processes at once: all get SIGTERM before any is waited for."""
    everyone = list(found)
    for process in everyone:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)
    deadline = time.monotonic() + grace
    for process in everyone:
        if not wait(process, max(0.0, deadline - time.monotonic())):
            stop(process, grace=0.0)


def cpu_seconds(process: Process) -> float:
    """CPU time of all threads of the process so far, in seconds; 0 when it is gone.

    From `/proc/<pid>/task/*/schedstat` (nanoseconds on the CPU): `stat` counts in ticks of 10 ms.
    """
    total = 0
    if not is_alive(process):
        return 0.0
    with suppress(OSError):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total * 1e-9
