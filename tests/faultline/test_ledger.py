"""The ledger: append-only, chained, safe with several writers, honest on a full disk."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faultline.ledger import GENESIS, KINDS, Ledger, LedgerError, Row, row_hash


def fill(ledger: Ledger, runs: int) -> None:
    """Record ``runs`` complete runs."""
    for index in range(runs):
        for kind in KINDS:
            ledger.append(kind, f"run-{index}", {"metric": kind, "value": index / 7})


def tamper(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    """Edit the file behind the ledger's back, triggers first dropped and afterwards put back."""
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement, values in statements:
        connection.execute(statement, values)
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()


class TestAppending:
    """What `append` accepts and writes."""

    def test_a_chain_of_whole_runs_is_intact(self, tmp_path: Path) -> None:
        """Rows written by `append` verify, and each names the hash of the one before."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 3)
        rows = ledger.rows()
        assert ledger.verify().intact
        assert [row.n for row in rows] == list(range(1, 10))
        assert rows[0].previous_hash == GENESIS
        assert all(row.previous_hash == before.hash for before, row in itertools.pairwise(rows))

    def test_a_measurement_needs_an_earlier_prediction(self, tmp_path: Path) -> None:
        """A measurement without a registered prediction is refused, and so is a verdict without both."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        with pytest.raises(LedgerError, match="no prediction on record"):
            ledger.append("measurement", "run-1", {})
        ledger.append("prediction", "run-1", {})
        with pytest.raises(LedgerError, match="no measurement on record"):
            ledger.append("verdict", "run-1", {})

    def test_a_run_is_recorded_once(self, tmp_path: Path) -> None:
        """A prediction cannot be replaced by a better one later."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.append("prediction", "run-1", {"low": 1})
        with pytest.raises(LedgerError, match="already has a prediction"):
            ledger.append("prediction", "run-1", {"low": 2})
        assert ledger.rows()[0].content == {"low": 1}

    def test_not_a_number_is_refused(self, tmp_path: Path) -> None:
        """NaN has no JSON text, so it cannot enter the ledger."""
        with pytest.raises(ValueError):
            Ledger(tmp_path / "ledger.sqlite").append("prediction", "run-1", {"value": math.nan})

    def test_triggers_refuse_update_delete_and_replace(self, tmp_path: Path) -> None:
        """Plain SQL cannot change the past, not even by INSERT OR REPLACE."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        connection = sqlite3.connect(ledger.path)
        for statement in (
            "UPDATE ledger SET payload = '{}' WHERE n = 1",
            "DELETE FROM ledger WHERE n = 1",
            "INSERT OR REPLACE INTO ledger "
            "SELECT n, time, kind, run_id, '{}', previous_hash, hash FROM ledger",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
        connection.close()
        assert ledger.verify().intact


EDITS = st.one_of(
    st.tuples(
        st.just("edit"),
        st.integers(1, 9),
        st.sampled_from(["time", "kind", "run_id", "payload", "previous_hash", "hash"]),
        st.text(max_size=12),
    ),
    st.tuples(st.just("remove"), st.integers(1, 9), st.just(""), st.just("")),
    st.tuples(st.just("swap"), st.integers(1, 8), st.just(""), st.just("")),
    st.tuples(st.just("truncate"), st.integers(0, 8), st.just(""), st.just("")),
    st.tuples(st.just("insert"), st.integers(1, 9), st.just(""), st.text(max_size=12)),
    st.tuples(st.just("rechain"), st.integers(1, 9), st.just(""), st.text(max_size=12)),
)


def rechained(rows: list[Row], n: int, payload: str) -> list[Row]:
    """A forger's chain: row ``n`` has another payload and every later hash is computed anew."""
    out: list[Row] = []
    previous = GENESIS
    for row in rows:
        text = payload if row.n == n else row.payload
        digest = row_hash(row.n, row.time, row.kind, row.run_id, text, previous)
        out.append(Row(row.n, row.time, row.kind, row.run_id, text, previous, digest))
        previous = digest
    return out


class TestVerify:
    """Whatever is done to the file shows."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(edit=EDITS)
    def test_any_edit_is_detected(
        self, edit: tuple[str, int, str, str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Editing, removing, swapping, inserting, cutting off or re-hashing rows is always found."""
        how, n, column, text = edit
        ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
        fill(ledger, 3)
        before = ledger.rows()
        insert = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)"
        statements: list[tuple[str, tuple[Any, ...]]]
        if how == "edit":
            statements = [(f"UPDATE ledger SET {column} = ? WHERE n = ?", (text, n))]
        elif how == "remove":
            statements = [("DELETE FROM ledger WHERE n = ?", (n,))]
        elif how == "swap":
            statements = [
                ("UPDATE ledger SET n = -1 WHERE n = ?", (n,)),
                ("UPDATE ledger SET n = ? WHERE n = ?", (n, n + 1)),
                ("UPDATE ledger SET n = ? WHERE n = -1", (n + 1,)),
            ]
        elif how == "truncate":
            statements = [("DELETE FROM ledger WHERE n > ?", (n,))]
        elif how == "insert":
            extra = (10, "2030-01-01", "prediction", "forged", text, before[-1].hash, "0" * 64)
            statements = [(insert, extra)]
        else:
            statements = [("DELETE FROM ledger", ())] + [
                (insert, (row.n, row.time, row.kind, row.run_id, row.payload, row.previous_hash, row.hash))
                for row in rechained(before, n, text)
            ]
        tamper(ledger.path, *statements)
        assert ledger.rows() != before
        assert not ledger.verify().intact

    def test_dropped_triggers_are_reported(self, tmp_path: Path) -> None:
        """An intact chain without its guards is not called intact."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        connection = sqlite3.connect(ledger.path)
        connection.execute("DROP TRIGGER ledger_refuses_update")
        connection.commit()
        connection.close()
        assert [problem.what for problem in ledger.verify().problems] == [
            "the trigger ledger_refuses_update is missing"
        ]

    def test_replaced_triggers_are_reported(self, tmp_path: Path) -> None:
        """A trigger of the right name that refuses nothing is no guard."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        connection = sqlite3.connect(ledger.path)
        connection.execute("DROP TRIGGER ledger_refuses_delete")
        connection.execute("CREATE TRIGGER ledger_refuses_delete BEFORE DELETE ON ledger BEGIN SELECT 1; END")
        connection.commit()
        connection.close()
        assert [problem.what for problem in ledger.verify().problems] == [
            "the trigger ledger_refuses_delete was replaced by another"
        ]

    @pytest.mark.parametrize("payload", ["{", "7", "[]", ""])
    def test_an_unreadable_row_is_named(self, tmp_path: Path, payload: str) -> None:
        """Reading a row that was edited into nonsense says which row, and what lists all of them."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        tamper(ledger.path, ("UPDATE ledger SET payload = ? WHERE n = 2", (payload,)))
        with pytest.raises(LedgerError, match=r"row 2 .*ledger verify"):
            _ = ledger.rows()[1].content

    def test_a_ledger_deleted_with_its_head_is_reported(self, tmp_path: Path) -> None:
        """The runs still remember their rows."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        witness = (1, ledger.rows()[0].hash)
        ledger.path.unlink()
        ledger.head_path.unlink()
        assert ledger.verify().intact
        assert not ledger.verify([witness]).intact

    def test_a_deleted_file_is_reported(self, tmp_path: Path) -> None:
        """Removing the database as a whole shows by the head that is left."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        assert ledger.verify().intact
        fill(ledger, 1)
        ledger.path.unlink()
        assert not ledger.verify().intact

    def test_a_run_directory_is_a_witness(self, tmp_path: Path) -> None:
        """A chain rewritten together with its head disagrees with the hash in a run's record."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        witness = (1, ledger.rows()[0].hash)
        assert ledger.verify([witness]).intact
        ledger.path.unlink()
        ledger.head_path.unlink()
        Ledger(ledger.path).append("prediction", "run-0", {"another": "story"})
        assert ledger.verify().intact
        assert not ledger.verify([witness]).intact

    def test_nothing_is_registered_on_a_damaged_end(self, tmp_path: Path) -> None:
        """A chain whose last row was cut off refuses new rows instead of hiding the cut."""
        ledger = Ledger(tmp_path / "ledger.sqlite")
        fill(ledger, 1)
        tamper(ledger.path, ("DELETE FROM ledger WHERE n = 3", ()))
        with pytest.raises(LedgerError, match="damaged at its end"):
            ledger.append("prediction", "run-9", {})

    def test_a_file_that_is_no_ledger_is_explained(self, tmp_path: Path) -> None:
        """Text in place of the database gives a message with the way out."""
        path = tmp_path / "ledger.sqlite"
        path.write_text("these are notes, not a database, and they are long enough to be read as one\n" * 20)
        with pytest.raises(LedgerError, match="move it aside"):
            Ledger(path).append("prediction", "run-1", {})


def _write_runs(path: Path, who: int) -> None:
    ledger = Ledger(path)
    for index in range(8):
        for kind in KINDS:
            ledger.append(kind, f"writer-{who}-{index}", {"who": who})


class TestHardship:
    """Several writers, and a disk that is full."""

    def test_concurrent_writers_make_one_chain(self, tmp_path: Path) -> None:
        """Processes that append at once interleave rows but never break the chain."""
        path = tmp_path / "ledger.sqlite"
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=_write_runs, args=(path, who)) for who in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        verification = Ledger(path).verify()
        assert verification.intact
        assert verification.rows == 3 * 8 * 3

    def test_a_full_disk_writes_nothing(self, tmp_path: Path) -> None:
        """When the database cannot grow, the error says so and the chain stays as it was."""

        class Small(Ledger):
            def _connect(self) -> sqlite3.Connection:
                connection = super()._connect()
                connection.execute("PRAGMA max_page_count = 4")
                return connection

        ledger = Small(tmp_path / "ledger.sqlite")
        ledger.append("prediction", "run-1", {})
        before = ledger.rows()
        with pytest.raises(LedgerError, match="disk is full"):
            ledger.append("measurement", "run-1", {"padding": "x" * 40_000})
        assert ledger.rows() == before
        assert ledger.verify().intact
