"""The undo log: what may be in force is known after any crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.faults.context import Inverse
from chaos.undo import UndoLog


@pytest.fixture
def log(tmp_path: Path) -> UndoLog:
    """An empty log."""
    return UndoLog(tmp_path / "undo.jsonl")


def heal_of(name: str) -> Inverse:
    """Some inverse."""
    return Inverse("heal", {"name": name})


class TestPending:
    """What is pending is what was recorded and not taken back."""

    def test_a_log_that_does_not_exist_has_nothing_pending(self, log: UndoLog) -> None:
        """No fault was ever injected."""
        assert log.pending() == []
        assert log.next_id() == 1

    def test_records_survive_their_process(self, log: UndoLog) -> None:
        """Another log on the same file sees inverse, note and id."""
        log.record(heal_of("a"), note="cut edi")
        second = log.record(heal_of("b"))
        log.done(second.id)
        found = UndoLog(log.path).pending()
        assert [(r.id, r.inverse, r.note) for r in found] == [(1, heal_of("a"), "cut edi")]
        assert UndoLog(log.path).next_id() == 3

    def test_taking_back_twice_is_harmless(self, log: UndoLog) -> None:
        """And so is taking back what was never recorded."""
        record = log.record(heal_of("a"))
        for number in (record.id, record.id, 99):
            log.done(number)
        assert log.pending() == []

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
    @given(st.lists(st.one_of(st.just("record"), st.integers(1, 8)), max_size=20), st.floats(0, 1))
    def test_any_prefix_of_the_file_is_a_state_that_was(
        self, tmp_path: Path, steps: list[str | int], share: float
    ) -> None:
        """Cut off anywhere, the log says what was pending after its last whole line, and goes on."""
        log = UndoLog(tmp_path / "undo.jsonl")
        log.path.unlink(missing_ok=True)
        states: list[set[int]] = [set()]
        for step in steps:
            if step == "record":
                log.record(heal_of("x"))
            else:
                log.done(int(step))
            states.append({record.id for record in log.pending()})
        raw = log.path.read_bytes() if log.path.exists() else b""
        cut = round(share * len(raw))
        if raw:
            log.path.write_bytes(raw[:cut])
        assert {record.id for record in log.pending()} == states[raw[:cut].count(b"\n")]
        before = {record.id for record in log.pending()}
        new = log.record(heal_of("y")).id
        assert new in {record.id for record in log.pending()}
        assert {record.id for record in log.pending()} == before | {new}


class TestTornLine:
    """A write that was cut off belongs to a fault that was never applied."""

    @pytest.mark.parametrize("torn", [b'{"id": 2, "inv', b'{"done": ', b"\xff\xfe", b"42"])
    def test_it_is_ignored_and_then_removed(self, log: UndoLog, torn: bytes) -> None:
        """The next record replaces it, so that it never gets into the middle of the file."""
        log.record(heal_of("a"))
        with log.path.open("ab") as file:
            file.write(torn)
        assert [record.id for record in log.pending()] == [1]
        assert log.record(heal_of("b")).id == 2
        assert [record.inverse for record in UndoLog(log.path).pending()] == [heal_of("a"), heal_of("b")]
        assert torn not in log.path.read_bytes().splitlines()

    def test_rubbish_in_the_middle_is_an_error_with_its_line(self, log: UndoLog) -> None:
        """It cannot come from a crash: somebody edited the file."""
        log.record(heal_of("a"))
        log.path.write_bytes(b"rubbish\n" + log.path.read_bytes())
        with pytest.raises(LabError, match=r"undo\.jsonl, line 1: cannot read the undo log"):
            log.pending()


class TestDurability:
    """`record` returns only when the inverse is on disk."""

    def test_file_and_directory_are_synced_before_record_returns(
        self, log: UndoLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file every time, its directory when the file is new."""
        synced: list[str] = []
        monkeypatch.setattr(
            os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        )
        log.record(heal_of("a"))
        assert synced == [str(log.path), str(log.path.parent)]
        log.record(heal_of("b"))
        assert synced[2:] == [str(log.path)]

    def test_a_full_disk_is_an_error(self, log: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """The caller must not apply the fault; half a line is not taken for a record."""
        log.record(heal_of("a"))
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(LabError, match="could not be written completely"):
            log.record(heal_of("b"))
        monkeypatch.undo()
        assert [record.id for record in log.pending()] == [1]
        with pytest.raises(LabError, match="cannot write the undo log"):
            UndoLog(log.path.parent / "missing" / "undo.jsonl").record(heal_of("a"))

    def test_a_killed_writer_leaves_every_finished_record(self, log: UndoLog) -> None:
        """SIGKILL in the middle of many records: each one announced as written is there."""
        script = (
            "import sys\nfrom pathlib import Path\nfrom chaos.undo import UndoLog\n"
            "from chaos.faults.context import Inverse\nlog = UndoLog(Path(sys.argv[1]))\n"
            "while True: print(log.record(Inverse('heal', {'name': 'x' * 500})).id, flush=True)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(log.path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            announced = [int(writer.stdout.readline()) for _ in range(30)]
            writer.kill()
            announced += [int(line) for line in writer.stdout.read().splitlines()]
        found = [record.id for record in log.pending()]
        assert found[: len(announced)] == announced
        assert len(found) <= len(announced) + 1
