"""Put the machine back: take every fault back that is still in force and remove whatever is left of a lab.

Nothing here relies on what the lab meant to do: processes are found by control group, namespaces,
devices and sockets by prefix, so a lab killed at any moment of its life, in the middle of a write
included, is found completely. Every step may be repeated.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from chaos.errors import LabError, MissingCapability
from chaos.faults import degrade, partition, pause
from chaos.faults.context import Inverse
from chaos.host import namespaces, processes, remains
from chaos.host.cgroups import Cgroups
from chaos.host.processes import Process
from chaos.kube import housekeeping
from chaos.lab.layout import lab_directory
from chaos.lock import MACHINE_LOCK, LabLock
from chaos.undo import FILE_NAME, UndoLog
from chaos.wan import control


class Unfinished(LabError):
    """Something of somebody else's could not be put right now; what another attempt needs is kept.

    Attributes:
        done: what was done nevertheless, one line each.
    """

    def __init__(self, left: Mapping[Path, Sequence[str]], done: Sequence[str]) -> None:
        lines = [line for every in left.values() for line in every]
        marks = [
            str(one / housekeeping.DIRECTORY / housekeeping.EXISTING) for one, every in left.items() if every
        ]
        super().__init__(
            f"not everything could be put right: {'; '.join(lines)}; whoever wants no further attempts "
            f"deletes {' and '.join(marks)}"
        )
        self.done = tuple(done)


MARKER = ".faultline-lab"
"""Says that a directory belongs to the lab: without it nothing in it is removed."""
LOG_SUFFIXES = {".log", ".err", ".out"}
LOG_NAMES = {"log", FILE_NAME, "state.json"}


def prepare_directory(directory: Path) -> None:
    """Make ``directory`` the lab's: create it when missing and put the marker in.

    Raises:
        LabError: it exists and holds something that is not the lab's, or cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / MARKER).exists() and any(directory.iterdir()):
            raise LabError(
                f"{directory} is not empty and not a lab directory: "
                "set FAULTLINE_LAB_DIR to an empty or new one"
            )
        (directory / MARKER).touch()
    except OSError as error:
        raise LabError(f"cannot use {directory} as lab directory: {error.strerror}") from error


def heal(
    directory: Path | None = None,
    *,
    keep_logs: bool = False,
    lock: Path = MACHINE_LOCK,
    keep_clusters: bool = True,
) -> list[str]:
    """Undo pending faults and remove every trace of the lab.

    Clusters that are to outlive their lab are emptied and put right; they stay with their kubeconfigs.

    Args:
        directory: the lab's directory; the default one when not given. The directory that the
            lock file names is healed too when it is another.
        keep_logs: leave log files, the undo log and state.json where they are.
        lock: the machine's lock file.
        keep_clusters: whether clusters that were made to be kept stay.

    Returns:
        What was done, one line each; empty when there was nothing to do.

    Raises:
        LabBusy: a session that still runs has the lab.
        Unfinished: clusters that are not the lab's do not answer, or refuse; the rest was done.
        LabError: something could not be removed; the message says what.
    """
    directory = directory or lab_directory()
    holder = LabLock(directory, lock).acquire(take_over=True)
    try:
        directories = [directory]
        if holder.stale is not None and Path(holder.stale.lab_dir) != directory:
            directories.append(Path(holder.stale.lab_dir))
        done: list[str] = []
        left: dict[Path, list[str]] = {}
        for one in directories:
            said, missed = _replay(one)
            withdrawn, stayed = _withdraw(one)
            done += said + withdrawn
            left[one] = missed + stayed
        done += _clear_machine()
        kept: frozenset[str] = frozenset()
        if housekeeping.is_needed():
            cleared, stays = housekeeping.clear(keep=keep_clusters)
            done += cleared
            kept = frozenset({housekeeping.DIRECTORY} if stays else ())
        for one in directories:
            needed = {housekeeping.DIRECTORY, FILE_NAME} if left[one] else kept
            done += remains.unmount_below(one)
            done += _clear_directory(one, keep_logs=keep_logs, but=frozenset(needed))
        if any(left.values()):
            raise Unfinished(left, done)
        return done
    finally:
        holder.release()


def _replay(directory: Path) -> tuple[list[str], list[str]]:
    """Take pending faults back as far as that means something without the session that injected them.

    Killed components are not started again: they belong to a lab that is about to be removed. What was
    done to somebody else's cluster does not go with the lab: it stays on record until it is taken back.

    Returns:
        What was done, and what is still in force.
    """
    log = UndoLog(directory / FILE_NAME)
    try:
        pending = log.pending()
    except LabError as error:
        return [f"ignored the undo log: {error}"], []
    done, left = [], []
    for record in reversed(pending):
        named = f"fault {record.id} ({record.note or record.inverse.kind})"
        try:
            said = _replayer(record.inverse.kind, directory)(directory, record.inverse)
        except (LabError, KeyError, TypeError, ValueError) as error:
            if _outlives_the_lab(directory, record.inverse):
                left.append(f"{named} is still in force: {error}")
                continue
            said = f"left to the removal of the lab ({error})"
        done.append(f"{named}: {said}")
        log.done(record.id)
    return done, left


def _outlives_the_lab(directory: Path, inverse: Inverse) -> bool:
    """Whether a fault holds something that the removal of the lab does not remove."""
    if not _is_on_existing(directory):
        return False
    from chaos.kube import existing

    return existing.is_of_the_owner(inverse)


def _replayer(kind: str, directory: Path) -> Callable[[Path, Inverse], str]:
    if kind in _REPLAY:
        return _REPLAY[kind]
    if not (housekeeping.is_needed() or _is_on_existing(directory)):
        return _skip
    from chaos.faults.kubernetes import replay

    return replay.replay if kind in replay.KINDS else _skip


def _is_on_existing(directory: Path) -> bool:
    return (directory / housekeeping.DIRECTORY / housekeeping.EXISTING).exists()


def _withdraw(directory: Path) -> tuple[list[str], list[str]]:
    """Take out of clusters that are not the lab's what it has put there; what was done, and what stays."""
    if not _is_on_existing(directory):
        return [], []
    from chaos.kube import existing

    return existing.withdraw_all(directory)


def _skip(directory: Path, inverse: Inverse) -> str:
    return "left to the removal of the lab"


def _continue(directory: Path, inverse: Inverse) -> str:
    reached = [pid for pid, started in inverse.args["processes"] if _wake(Process(pid, started))]
    return f"continued {len(reached)} processes"


def _wake(process: Process) -> bool:
    return processes.send(process, signal.SIGCONT)


def _relay(operation: str) -> Callable[[Path, Inverse], str]:
    def replay(directory: Path, inverse: Inverse) -> str:
        control.request(directory / "wan" / "relay.sock", operation, timeout=1.0, name=inverse.args["name"])
        return "links restored"

    return replay


_REPLAY: dict[str, Callable[[Path, Inverse], str]] = {
    pause.KIND: _continue,
    partition.KIND: _relay("heal"),
    degrade.KIND: _relay("restore"),
}


def _clear_machine() -> list[str]:
    done: list[str] = []
    try:
        cgroups: Cgroups | None = Cgroups()
    except MissingCapability:
        cgroups = None
    # Processes first: they hold namespaces, devices, sockets and mounts.
    if cgroups is not None and cgroups.exists():
        killed = cgroups.kill()
        if killed:
            done.append(f"killed {len(killed)} processes")
        cgroups.remove()
        done.append("removed the control groups")
    for name in namespaces.names():
        if not namespaces.delete(name):
            raise LabError(f"cannot remove namespace {name}: try `ip netns delete {name}`")
        done.append(f"removed namespace {name}")
    return done + remains.remove_interfaces() + remains.remove_netns_configuration(namespaces.PREFIX)


def _clear_directory(directory: Path, *, keep_logs: bool, but: frozenset[str] = frozenset()) -> list[str]:
    if not directory.is_dir():
        return []
    if not (directory / MARKER).exists():
        # Killed between making the directory and marking it: then it is empty.
        with suppress(OSError):
            directory.rmdir()
            return [f"removed {directory}"]
        return [f"left {directory} alone: it is not marked as a lab directory"]
    if keep_logs:
        removed = _remove_all_but_logs(directory, but)
        return [f"removed {removed} files from {directory}, kept the logs"] if removed else []
    if any(entry.name in but for entry in directory.iterdir()):
        left = [entry for entry in directory.iterdir() if entry.name not in {MARKER, *but}]
        for entry in left:
            _remove(entry)
        return [f"removed {len(left)} entries of {directory}, kept {', '.join(sorted(but))}"] if left else []
    for entry in directory.iterdir():
        if entry.name != MARKER:
            _remove(entry)
    (directory / MARKER).unlink()  # last: until here a second attempt knows what it may remove
    with suppress(OSError):
        directory.rmdir()
    return [f"removed {directory}"]


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LabError(f"cannot remove {path}: {error.strerror}") from error


def _remove_all_but_logs(directory: Path, but: frozenset[str] = frozenset()) -> int:
    removed = 0
    for where, directories, files in os.walk(directory, topdown=False):
        if (
            Path(where).relative_to(directory).parts[:1]
            and Path(where).relative_to(directory).parts[0] in but
        ):
            continue
        for name in files:
            path = Path(where, name)
            if name in LOG_NAMES | {MARKER} or path.suffix in LOG_SUFFIXES:
                continue
            path.unlink(missing_ok=True)
            removed += 1
        for name in directories:
            path = Path(where, name)
            with suppress(OSError):
                if path.is_symlink():
                    path.unlink()
                else:
                    path.rmdir()  # stays when it holds logs
    return removed
