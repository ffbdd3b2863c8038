"""How a command ends: which error becomes which exit code, and what is said."""

from __future__ import annotations

import os
import sys

import pytest

from faultline.guard import run_guarded
from faultline.home import Home
from faultline.ledger import LedgerError
from topologies.errors import InputError


@pytest.fixture(autouse=True)
def own_home(home: Home) -> Home:
    """Every test has a home of its own, where tracebacks are kept."""
    return home


class TestGuard:
    """How errors become exit codes."""

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (InputError("wrong", file="a.yaml"), 64),
            (LedgerError("full"), 70),
            (KeyboardInterrupt(), 130),
            (ValueError("surprise"), 70),
            (OSError(28, "No space left on device", "ledger.sqlite"), 70),
        ],
    )
    def test_codes(self, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        """Each kind has its own, and what is said fits on a few lines."""

        def fail() -> None:
            raise error

        assert run_guarded(fail) == code
        said = capsys.readouterr().err
        assert said
        assert "Traceback" not in said

    def test_lab_errors(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What the machine lacks is the user's to get (64), a failing lab is 3, no steady state is 2."""
        from chaos import errors

        expected = {
            errors.MissingCapability: 64,
            errors.LabBusy: 64,
            errors.LabError: 3,
            errors.InjectionError: 3,
            errors.SteadyStateError: 2,
        }
        for kind, code in expected.items():

            def fail(kind: type[Exception] = kind) -> None:
                raise kind("because")

            assert run_guarded(fail) == code
            assert "because" in capsys.readouterr().err

    def test_a_defect_leaves_its_traceback_in_a_file(
        self, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The user sees one line and a path; whoever mends it finds the rest there."""

        def fail() -> None:
            raise RuntimeError("a defect\nwith a second line")

        assert run_guarded(fail) == 70
        said = capsys.readouterr().err
        assert "RuntimeError: a defect" in said
        assert "second line" not in said
        (path,) = home.root.glob("crash-*.txt")
        assert str(path) in said
        assert "Traceback (most recent call last)" in path.read_text()

    def test_what_breaks_by_an_interruption_is_an_interruption(
        self, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C at a bad moment (in the start of a pool of workers, say) makes the way out fail."""

        def fail() -> None:
            try:
                raise KeyboardInterrupt
            finally:
                raise RuntimeError("cannot join thread before it is started")

        assert run_guarded(fail) == 130
        assert capsys.readouterr().err == "interrupted\n"
        assert not list(home.root.glob("crash-*"))

    def test_a_name_that_is_no_text_does_not_hide_a_defect(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Names of files are bytes; one that is not UTF-8 on the command line is escaped in the file."""
        monkeypatch.setattr(sys, "argv", ["faultline", "run", os.fsdecode(b"caf\xe9.yaml")])

        def fail() -> None:
            raise RuntimeError("a defect")

        assert run_guarded(fail) == 70
        (path,) = home.root.glob("crash-*.txt")
        assert r"caf\udce9.yaml" in path.read_text()

    def test_an_exit_code_is_passed_on(self) -> None:
        """A command that returns a code exits with it; one that returns nothing exits with 0."""
        assert run_guarded(lambda: 2) == 2
        assert run_guarded(lambda: None) == 0
