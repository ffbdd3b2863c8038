"""The ledger: what was predicted, before it was measured, and what came of it.

An append-only SQLite table. Every row carries the SHA-256 of its own content and of the row
before, so an edited, removed, inserted or reordered row shows; the newest hash is also kept
outside the database (`<ledger>.head`, and in each run's `record.json`), so a shortened or wholly
rewritten chain shows too. Triggers refuse UPDATE and DELETE against accidents; `verify` does not
rely on them. Whoever can write all of these places can forge all of them: to prove a date to
others, give them the newest hash.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from faultline.home import write_atomically

if TYPE_CHECKING:
    import pandas

    from sim.charts import Chart

Kind = Literal["prediction", "measurement", "verdict"]
KINDS: tuple[Kind, ...] = ("prediction", "measurement", "verdict")
GENESIS = "0" * 64
"""Previous hash of the first row."""

_TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
  n INTEGER PRIMARY KEY,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  run_id TEXT NOT NULL,
  payload TEXT NOT NULL,
  previous_hash TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT
"""
# INSERT OR REPLACE deletes without firing a DELETE trigger, hence the guard on INSERT.
_REFUSE = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
_TRIGGERS = {
    "ledger_refuses_update": f"BEFORE UPDATE ON ledger {_REFUSE}",
    "ledger_refuses_delete": f"BEFORE DELETE ON ledger {_REFUSE}",
    "ledger_appends_only": (
        f"BEFORE INSERT ON ledger WHEN NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM ledger) {_REFUSE}"
    ),
}
_COLUMNS = "n, time, kind, run_id, payload, previous_hash, hash"


class LedgerError(Exception):
    """The ledger refused or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """One row, as stored.

    Attributes:
        n: position, from 1.
        time: UTC, ISO 8601.
        payload: canonical JSON text.
    """

    n: int
    time: str
    kind: str
    run_id: str
    payload: str
    previous_hash: str
    hash: str

    @property
    def content(self) -> dict[str, Any]:
        """The payload, parsed.

        Raises:
            LedgerError: the row was edited into something that cannot be read.
        """
        try:
            content = json.loads(self.payload)
        except (ValueError, TypeError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise LedgerError(
                f"row {self.n} of the ledger cannot be read: it was edited after it was written; "
                "`faultline ledger verify` names every damaged row"
            )
        return content


@dataclass(frozen=True)
class Problem:
    """Something `verify` found: the row (None: the ledger as a whole) and what is wrong."""

    n: int | None
    what: str


@dataclass(frozen=True)
class Verification:
    """Outcome of `Ledger.verify`."""

    rows: int
    head: str
    problems: tuple[Problem, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


def canonical(payload: dict[str, Any]) -> str:
    """The one text of ``payload`` that is hashed.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON has not.
    """
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)


def row_hash(n: int, time: str, kind: str, run_id: str, payload: str, previous_hash: str) -> str:
    """SHA-256 of a row; a JSON list, so that no two rows have the same text."""
    text = json.dumps([n, time, kind, run_id, payload, previous_hash], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Ledger:
    """The ledger in one SQLite file.

    Attributes:
        path: the file; made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def head_path(self) -> Path:
        """The witness of the newest row, outside the database."""
        return self.path.with_name(self.path.name + ".head")

    def append(self, kind: Kind, run_id: str, payload: dict[str, Any], time: datetime | None = None) -> Row:
        """Add a row at the end; safe against other processes doing the same.

        A run has one prediction, one measurement and one verdict, in this order.

        Raises:
            LedgerError: out of order, repeated, the end of the chain is damaged, or the disk refused
                (nothing has been written then).
        """
        text = canonical(payload)
        with self._transaction() as connection:
            last = self._last(connection)
            self._ensure_end_is_sound(last)
            self._ensure_order(connection, kind, run_id)
            n, previous = (last.n + 1, last.hash) if last else (1, GENESIS)
            stamp = (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds")
            row = Row(
                n, stamp, kind, run_id, text, previous, row_hash(n, stamp, kind, run_id, text, previous)
            )
            connection.execute(
                f"INSERT INTO ledger ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (row.n, row.time, row.kind, row.run_id, row.payload, row.previous_hash, row.hash),
            )
        self._witness()
        return row

    def rows(self) -> list[Row]:
        """All rows in order; empty when there is no ledger yet.

        Raises:
            LedgerError: the file is not a ledger.
        """
        if not self.path.exists():
            return []
        with self._connection() as connection:
            return [
                Row(*values) for values in connection.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY n")
            ]

    def of_run(self, run_id: str) -> dict[str, Row]:
        """The rows of one run by kind."""
        return {row.kind: row for row in self.rows() if row.run_id == run_id}

    def verify(self, witnesses: Sequence[tuple[int, str]] = ()) -> Verification:
        """Walk the whole chain.

        Args:
            witnesses: (n, hash) pairs kept elsewhere, which the chain must contain.

        Raises:
            LedgerError: the file is not a ledger.
        """
        head = self._head()
        if not self.path.exists():
            gone = [Problem(None, f"{self.path} is gone, but {self.head_path} remembers rows")] * bool(head)
            gone += [
                Problem(n, "the row is gone: its hash was noted when it was written") for n, _ in witnesses
            ]
            return Verification(0, GENESIS, tuple(gone))
        problems = [Problem(None, what) for what in self._trigger_faults()]
        rows = self.rows()
        previous = GENESIS
        for position, row in enumerate(rows, start=1):
            problems += [Problem(row.n, what) for what in _faults_of(row, position, previous)]
            previous = row.hash
        known = {row.n: row.hash for row in rows}
        for n, digest in [*([head] if head else []), *witnesses]:
            if n not in known:
                problems.append(Problem(n, "the row is gone: its hash was noted when it was written"))
            elif known[n] != digest:
                problems.append(Problem(n, "the row is not the one whose hash was noted when it was written"))
        if rows and head is None:
            problems.append(Problem(None, f"{self.head_path} is missing or unreadable"))
        return Verification(len(rows), previous, tuple(dict.fromkeys(problems)))

    def frame(self) -> pandas.DataFrame:
        """A row per metric that was predicted and measured."""
        from faultline.ledger_view import frame

        return frame(self.rows())

    def plot(self) -> Chart:
        """Share of measured values inside their intervals, by metric."""
        from faultline.ledger_view import plot

        return plot(self.rows())

    def _repr_html_(self) -> str:
        """The score, as a notebook shows it."""
        from faultline.ledger_view import html

        return html(self.rows())

    # -- inside ---------------------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: cannot be opened: {error}") from None
        # A row edited to invalid UTF-8 must be reported by verify, not crash it.
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            yield connection
        except sqlite3.Error as error:
            raise LedgerError(self._explain(error)) from None
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30.0, isolation_level=None)

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            return f"{self.path}: the disk is full or failing ({error}); nothing was written, free some space"
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return f"{self.path}: not a ledger or damaged ({error}); move it aside to begin a new one"
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            return f"{self.path}: cannot be written ({error}); check the directory's permissions"
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return f"{self.path}: another process has held the ledger for 30 s; try again"
        return f"{self.path}: {error}; move it aside to begin a new one"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write under the database's write lock: all of it or nothing."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{self.path.parent}: {error.strerror}") from None
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._is_new(connection):
                    connection.execute(_TABLE)
                    for name, body in _TRIGGERS.items():
                        connection.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @staticmethod
    def _is_new(connection: sqlite3.Connection) -> bool:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone()
        return found is None

    @staticmethod
    def _last(connection: sqlite3.Connection) -> Row | None:
        values = connection.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY n DESC LIMIT 1").fetchone()
        return Row(*values) if values else None

    def _ensure_end_is_sound(self, last: Row | None) -> None:
        head = self._head()
        sound = last is None or last.hash == row_hash(
            last.n, last.time, last.kind, last.run_id, last.payload, last.previous_hash
        )
        if sound and head is not None:
            # Another writer may be between its commit and its witness: the head may lag, never lead.
            sound = last is not None and (last.n > head[0] or (last.n == head[0] and last.hash == head[1]))
        if not sound:
            raise LedgerError(
                f"{self.path}: the chain is damaged at its end; `faultline ledger verify` says where. "
                "Nothing can be registered on it: move it (and its .head file) aside to begin a new one"
            )

    @staticmethod
    def _ensure_order(connection: sqlite3.Connection, kind: Kind, run_id: str) -> None:
        present = {
            found for (found,) in connection.execute("SELECT kind FROM ledger WHERE run_id = ?", (run_id,))
        }
        if kind in present:
            raise LedgerError(f"run {run_id} already has a {kind} on record; a run is recorded once")
        before = KINDS[: KINDS.index(kind)]
        missing = [name for name in before if name not in present]
        if missing:
            raise LedgerError(
                f"run {run_id} has no {missing[0]} on record: a {kind} without an earlier {missing[0]} "
                "cannot be scored"
            )

    def _witness(self) -> None:
        """Note the newest row outside; under the write lock, so that a slower writer cannot set it back."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            last = self._last(connection)
            try:
                if last is not None:
                    text = json.dumps({"n": last.n, "hash": last.hash}) + "\n"
                    write_atomically(self.head_path, text.encode())
            except OSError as error:
                raise LedgerError(f"{self.head_path}: cannot be written: {error.strerror}") from None
            finally:
                connection.execute("ROLLBACK")

    def _head(self) -> tuple[int, str] | None:
        try:
            content = json.loads(self.head_path.read_text())
            return int(content["n"]), str(content["hash"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _trigger_faults(self) -> Iterator[str]:
        with self._connection() as connection:
            found = dict(
                connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            )
        for name, body in _TRIGGERS.items():
            if name not in found:
                yield f"the trigger {name} is missing"
            elif not str(found[name]).endswith(f" {body}"):
                yield f"the trigger {name} was replaced by another"


def _faults_of(row: Row, position: int, previous: str) -> Iterator[str]:
    texts = (row.time, row.kind, row.run_id, row.payload, row.previous_hash, row.hash)
    if not all(isinstance(text, str) for text in texts):
        yield "holds something that is not text"
        return
    if row.n != position:
        yield f"row {position} is missing or out of place"
    if row.previous_hash != previous:
        yield "does not follow the row before: one was edited, removed, inserted or moved"
    if row.kind not in KINDS:
        yield f"unknown kind {row.kind!r}"
    if row.hash != row_hash(row.n, row.time, row.kind, row.run_id, row.payload, row.previous_hash):
        yield "was edited after it was written"
