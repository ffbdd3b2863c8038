"""Replications that were carried out, on disk: found again after a crash, counted once whatever happens.

An SQLite table with one row per (program, replication). Only the process that collects results writes
to it, a transaction per lot; a row that is there already stays as it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from sim.replication import Outcome

Metrics = dict[str, tuple[float, int, str, bool]]
"""Key -> (value, samples, unit, censored), as in `sim.replication.Outcome`."""

_TABLE = """
CREATE TABLE IF NOT EXISTS replications (
  program TEXT NOT NULL,
  replication INTEGER NOT NULL,
  metrics TEXT NOT NULL,
  PRIMARY KEY (program, replication)
) STRICT, WITHOUT ROWID
"""


class JournalError(ValueError):
    """The file is no journal, or cannot be written."""


class Journal:
    """A journal. A context manager.

    Args:
        path: file, made when it is not there; None for one in memory.

    Raises:
        JournalError: there is something else at ``path``, or it cannot be written.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(":memory:" if self.path is None else self.path, timeout=60)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_TABLE)
            self._database.commit()
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"{self.path} cannot be used as a journal: {error}") from None

    def __enter__(self) -> Self:
        """Nothing to open: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; what was recorded is in it."""
        self._database.close()

    def done(self, program: str) -> set[int]:
        """Numbers of the replications of ``program`` that are recorded."""
        rows = self._database.execute("SELECT replication FROM replications WHERE program = ?", (program,))
        return {int(number) for (number,) in rows}

    def record(self, program: str, outcomes: Iterable[tuple[int, Metrics]]) -> int:
        """Write replications of ``program`` down; returns how many were not there before."""
        lot = [
            (program, number, json.dumps(metrics, separators=(",", ":"), sort_keys=True))
            for number, metrics in outcomes
        ]
        try:
            with self._database:
                before = self._database.total_changes
                self._database.executemany("INSERT OR IGNORE INTO replications VALUES (?, ?, ?)", lot)
                return self._database.total_changes - before
        except sqlite3.Error as error:
            raise JournalError(f"{self.path} cannot be written: {error}") from None

    def metrics(self, program: str, replications: int) -> dict[int, Metrics]:
        """What the first ``replications`` of ``program`` came to, as far as they are recorded, in order."""
        rows = self._database.execute(
            "SELECT replication, metrics FROM replications WHERE program = ? AND replication < ? "
            "ORDER BY replication",
            (program, replications),
        )
        return {
            int(number): {
                key: (found[0], found[1], found[2], found[3]) for key, found in json.loads(text).items()
            }
            for number, text in rows
        }

    def __len__(self) -> int:
        """Replications recorded, of all programs."""
        (count,) = self._database.execute("SELECT count(*) FROM replications").fetchone()
        return int(count)


def metrics_of(outcome: Outcome) -> Metrics:
    """What is kept of a replication."""
    return {
        key: (float(value), int(n), unit, bool(cut)) for key, (value, n, unit, cut) in outcome.metrics.items()
    }
