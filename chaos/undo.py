"""The undo log: what takes each fault back, on disk before the fault is applied.

One JSON object per line, only ever appended: `{"id": 3, "inverse": {...}, "at": ...}` before a
fault, `{"done": 3}` after it was taken back. Every line reaches the disk (fsync of the file, and
of its directory when it is new) before `record` returns, so that after a SIGKILL or a power cut
whatever may be in force is known. A last line that was cut off in the middle belongs to a fault
that was never applied.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.faults.context import Inverse

FILE_NAME = "undo.jsonl"


@dataclass(frozen=True)
class Record:
    """A fault that is or may be in force.

    Attributes:
        id: number within the log, from 1.
        inverse: what takes it back.
        at: when it was recorded (Unix time, for people).
        note: the fault in words.
    """

    id: int
    inverse: Inverse
    at: float
    note: str = ""


class UndoLog:
    """The undo log of one lab directory. Not shared between processes: the lab's lock sees to that."""

    def __init__(self, path: Path) -> None:
        """Use the log at ``path``; it comes into being with the first record."""
        self.path = path

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, _ = raw.rpartition(b"\n")  # what follows the last newline was cut off before the fsync
        for number, line in enumerate(whole.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                raise LabError(
                    f"{self.path}, line {number}: cannot read the undo log ({error}); "
                    "`faultline heal` removes the whole lab without it"
                ) from error
            yield entry

    def _append(self, entry: dict[str, Any]) -> None:
        fresh = not self.path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o600)
            try:
                self._drop_torn_line(descriptor)
                line = (json.dumps(entry, sort_keys=True) + "\n").encode()
                if os.write(descriptor, line) != len(line):
                    raise LabError(f"{self.path}: the undo log could not be written completely")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LabError(f"{self.path}: cannot write the undo log ({error.strerror})") from error
        if fresh:
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    @staticmethod
    def _drop_torn_line(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
            return
        content = os.pread(descriptor, size, 0)
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)

    def next_id(self) -> int:
        """The id that the next `record` will get: inverses may carry it as a name."""
        return max((entry["id"] for entry in self._lines() if "id" in entry), default=0) + 1

    def record(self, inverse: Inverse, note: str = "") -> Record:
        """Put ``inverse`` on disk; only after this returns may the fault be applied.

        Raises:
            LabError: it could not be written; the fault must not be applied.
        """
        record = Record(self.next_id(), inverse, time.time(), note)
        self._append(
            {
                "id": record.id,
                "inverse": {"kind": inverse.kind, "args": inverse.args},
                "at": record.at,
                "note": note,
            }
        )
        return record

    def done(self, record_id: int) -> None:
        """Note that the fault has been taken back; harmless when it was noted before."""
        self._append({"done": record_id})

    def pending(self) -> list[Record]:
        """Faults recorded and not taken back, oldest first.

        Raises:
            LabError: a line other than the last cannot be read.
        """
        found: dict[int, Record] = {}
        for entry in self._lines():
            if "done" in entry:
                found.pop(entry["done"], None)
                continue
            inverse = entry.get("inverse") or {}
            if "id" in entry and "kind" in inverse:
                found[entry["id"]] = Record(
                    entry["id"],
                    Inverse(inverse["kind"], inverse.get("args", {})),
                    entry.get("at", 0.0),
                    entry.get("note", ""),
                )
        return list(found.values())
