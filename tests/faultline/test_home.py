"""The home directory and the directories of runs."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from faultline.home import Home, write_atomically
from topologies.errors import InputError

NOON = datetime(2025, 1, 2, 12, 0, tzinfo=UTC)


class TestRuns:
    """Making and finding run directories."""

    def test_ids_sort_by_time_and_latest_points_at_the_newest(self, home: Home) -> None:
        """A run's id begins with its time; `latest` always opens the newest."""
        first = home.new_run("One site cut!", NOON)
        second = home.new_run("site-cut", NOON.replace(hour=13))
        assert first.id.startswith("20250102T120000Z-one-site-cut-")
        assert home.run_ids() == [first.id, second.id]
        assert home.latest.is_symlink()
        assert home.open_run("latest").id == second.id

    def test_two_runs_in_the_same_second_do_not_collide(self, home: Home) -> None:
        """Ids are unique even with equal time and title."""
        assert len({home.new_run("x", NOON).id for _ in range(20)}) == 20

    def test_a_run_is_found_by_the_beginning_of_its_id_or_its_path(self, home: Home) -> None:
        """As with hashes of a version control system, enough of the id is enough."""
        run = home.new_run("site-cut", NOON)
        run.write_json("record", {"stage": "done"})
        assert home.open_run(run.id[:12]).id == run.id
        assert home.open_run(str(run.path)).id == run.id

    @pytest.mark.parametrize(
        ("number", "kind"), [(errno.EROFS, InputError), (errno.EACCES, InputError), (errno.ENOSPC, OSError)]
    )
    def test_a_home_that_became_read_only_is_named_with_the_way_out(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
    ) -> None:
        """The user chose the place and can choose another; a full disk is no mistake of the user's."""
        home.create()

        def refuse(path: Path, *_: object, **__: object) -> None:
            if path.parent == home.runs:
                raise OSError(number, "refused", str(path))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(kind, match="refused"):
            home.new_run("a")

    def test_unknown_and_ambiguous_references_say_what_there_is(self, home: Home) -> None:
        """The message names runs that could have been meant."""
        with pytest.raises(InputError, match="no run yet"):
            home.open_run("latest")
        one, _ = home.new_run("a", NOON), home.new_run("b", NOON)
        with pytest.raises(InputError, match="ambiguous"):
            home.open_run("20250102")
        with pytest.raises(InputError, match=one.id):
            home.open_run("nonsense")


class TestFiles:
    """Writing and reading the JSON files of a run."""

    def test_equal_content_gives_equal_bytes_and_names_its_schema(self, home: Home) -> None:
        """Keys are sorted, and nothing of the run's own identity is added."""
        run, other = home.new_run("a"), home.new_run("b")
        one = run.write_json("prediction", {"b": 1, "a": 2}).read_bytes()
        assert one == other.write_json("prediction", {"a": 2, "b": 1}).read_bytes()
        assert json.loads(one)["schema"] == "faultline/prediction/1"

    def test_a_missing_file_says_how_far_the_run_got(self, home: Home) -> None:
        """A run that ended early is explained, not met with a traceback."""
        run = home.new_run("a")
        run.write_json("record", {"stage": "lab"})
        with pytest.raises(InputError, match="stage reached: lab"):
            run.read_json("measurement")

    def test_a_name_that_is_no_text_is_escaped(self, home: Home) -> None:
        """A report names the experiment's file, and names of files are bytes."""
        run = home.new_run("a")
        written = run.write_text("report.md", "of caf\udce9.yaml").read_text(encoding="utf-8")
        assert written == r"of caf\udce9.yaml"

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", '{"schema": "faultline/verdict/99"}'])
    def test_files_that_cannot_be_used_are_refused(self, home: Home, text: str) -> None:
        """Broken JSON and other versions' files are named with their path."""
        run = home.new_run("a")
        run.write_text("verdict.json", text)
        with pytest.raises(InputError, match=r"verdict\.json"):
            run.read_json("verdict")

    def test_a_full_disk_is_told_with_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The system's error about a write names no file; the user needs to know which disk it is."""

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            write_atomically(tmp_path / "file.json", b"new")
        assert caught.value.filename == str(tmp_path / "file.json")

    def test_a_failed_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk shows as an error and changes nothing."""
        path = tmp_path / "file.json"
        path.write_text("old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")
        assert path.read_text() == "old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
