"""Documents of runs and the ledger's rows vouch for each other."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from faultline.cli import app
from faultline.home import Home

SMALL = ["--set", "workload.duration=6s", "--set", "workload.warmup=1s", "--set", "workload.users=2"]


@pytest.fixture
def run_home(home: Home) -> Home:
    """A home with one registered run."""
    result = CliRunner().invoke(
        app, ["run", "baseline", "--backend", "simulated", "--seed", "3", "--replications", "2", *SMALL]
    )
    assert result.exit_code in (0, 1, 2), result.output
    return home


def change(home: Home, name: str, *, without: str) -> None:
    """Take a key out of a document of the latest run."""
    path = home.open_run("latest").path / f"{name}.json"
    content = json.loads(path.read_text())
    del content[without]
    path.write_text(json.dumps(content))


def test_a_changed_document_is_told(run_home: Home) -> None:
    """`ledger verify` compares the files of runs with the hashes registered for them."""
    runner = CliRunner()
    assert runner.invoke(app, ["ledger", "verify"]).exit_code == 0
    change(run_home, "prediction", without="metrics")
    result = runner.invoke(app, ["ledger", "verify"])
    assert result.exit_code == 1
    assert "prediction.json was changed after this row registered it" in result.stdout
    report = runner.invoke(app, ["report"])
    assert report.exit_code == 64
    assert "would not show what was registered" in report.stderr


def test_a_run_that_was_removed_is_no_damage(run_home: Home) -> None:
    """People clean up; the ledger scores without the run directories."""
    shutil.rmtree(run_home.open_run("latest").path)
    assert CliRunner().invoke(app, ["ledger", "verify"]).exit_code == 0
