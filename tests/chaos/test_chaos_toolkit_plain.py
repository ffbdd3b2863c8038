"""Our experiments under plain Chaos Toolkit, with nothing of `faultline` around it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chaoslib.exceptions import InterruptExecution
from chaoslib.experiment import run_experiment
from chaoslib.types import Dry
from fake_simulator import FakeSimulator

from chaos.lab.simulated import SimulatedLab
from chaos.toolkit import control
from chaos.toolkit.session import current_or_none
from experiments.loader import library, load


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> list[FakeSimulator]:
    """The fake simulator as backend `simulated`; gives the simulators that were opened."""
    opened: list[FakeSimulator] = []

    def open_lab() -> SimulatedLab:
        opened.append(FakeSimulator())
        return SimulatedLab(opened[-1])

    def entries(group: str) -> list[Any]:
        assert group == "faultline.labs"
        return [SimpleNamespace(name="simulated", load=lambda: open_lab)]

    monkeypatch.setattr(control, "entry_points", entries)
    monkeypatch.setenv("FAULTLINE_BACKEND", "simulated")
    return opened


def test_the_control_opens_the_lab_and_writes_the_metrics_into_the_journal(labs: list[FakeSimulator]) -> None:
    """`chaos run` alone brings the lab up, breaks, measures, and takes it down."""
    journal = run_experiment(load("site-cut").raw, settings={})
    assert [call for _, call in labs[0].calls] == ["start", "inject partition", "undo partition"]
    assert journal["status"] == "completed"
    assert journal["faultline"]["backend"] == "simulated"
    down = journal["faultline"]["metrics"]["unavailability{site=edi,flow=health}@fault"]
    assert (down["value"], down["unit"]) == (20.0, "s")
    assert current_or_none() is None
    json.dumps(journal)


def test_references_between_activities_still_work(labs: list[FakeSimulator]) -> None:
    """Loading the experiment again inside the control must not lose what `ref` is looked up in."""
    raw = load("site-cut").raw
    raw["method"].append({"ref": "every component is up"})
    journal = run_experiment(raw, settings={})
    assert journal["run"][1]["status"] == "succeeded"


def test_a_dry_run_brings_no_lab_up(labs: list[FakeSimulator]) -> None:
    """With `--dry activities` nothing would be executed, so nothing is started."""
    raw = load("site-cut").raw | {"dry": Dry.ACTIVITIES}
    journal = run_experiment(raw, settings={})
    assert journal["status"] == "completed"
    assert labs == []


def test_an_unknown_backend_interrupts_the_experiment(
    labs: list[FakeSimulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and the backends there are."""
    monkeypatch.setenv("FAULTLINE_BACKEND", "moon")
    with pytest.raises(
        InterruptExecution, match="FAULTLINE_BACKEND: there is no lab 'moon'; expected one of sim"
    ):
        control.before_experiment_control(load("baseline").raw)
    assert run_experiment(load("baseline").raw, settings={})["status"] == "interrupted"


@pytest.mark.parametrize("name", sorted(library()))
def test_the_library_passes_chaos_validate(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line of Chaos Toolkit accepts every experiment of the library."""
    from chaostoolkit.cli import cli
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)  # it leaves a log file where it runs
    result = CliRunner().invoke(cli, ["--no-version-check", "validate", str(library()[name])])
    assert result.exit_code == 0, result.output
