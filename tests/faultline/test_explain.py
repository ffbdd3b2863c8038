"""`faultline explain`, and the option `--profile` of `predict` and `plan`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.home import Home

METRIC = "latency_p50{flow=access-token}@whole"


def call(*words: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture(autouse=True)
def own_place(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home and a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


TOPOLOGY = """\
topology: mine
sites: {a: {nodes: 1, cpu: 2}}
services:
  db: {kind: galera, members: {a: 1}}
  iam: {kind: indigo-iam, replicas: {a: 1}, database: db}
  frontend: {kind: haproxy, sites: [a], backend: iam}
clients: {users: {site: a}}
"""

EXPERIMENT = """\
title: Nothing is broken
description: Nothing is broken
steady-state-hypothesis: {title: none, probes: []}
method: []
rollbacks: []
extensions:
  - name: faultline
    topology: mine.yaml
    workload: {flow: FLOW, users: 2, ramp: 10/s, think: 0.2s, duration: 8s, warmup: 1s, probes: []}
    hypotheses: []
"""


@pytest.fixture
def experiment(own_place: Path) -> Path:
    """A short load on one machine."""
    (own_place / "mine.yaml").write_text(TOPOLOGY)
    path = own_place / "mine-experiment.yaml"
    path.write_text(EXPERIMENT.replace("FLOW", "access-token"))
    return path


def test_it_tells_parameters_and_phases(experiment: Path) -> None:
    """A table of what was moved, a table of where the time went, and how much was simulated."""
    result = call(
        *("explain", str(experiment), "--metric", METRIC),
        *("--calibration", "shipped", "--replications", "2"),
    )
    assert result.exit_code == 0, result.output
    for words in ("access-token db cpu", "think", "chance (the run itself)", "share of spread"):
        assert words in result.stdout
    assert "time of all answered requests" in result.stdout
    assert "the slowest 1 %" in result.stdout
    assert "phase" in result.stdout and "commit" in result.stdout


def test_json_has_all_of_it(experiment: Path) -> None:
    """Sensitivity with intervals, Sobol indices, phases; what it was made for."""
    result = call(
        *("explain", str(experiment), "--metric", METRIC, "--calibration", "shipped", "--json"),
        *("--sobol", "2", "--top", "1", "--profile", "indigo-iam", "--replications", "2"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["profile"] == "indigo-iam"
    effects = found["sensitivity"]["effects"][METRIC]
    assert {"parameter", "difference", "interval", "share", "kind"} <= set(effects[0])
    assert len(found["sensitivity"]["sobol"][METRIC]) == 2
    assert {part["group"] for part in found["times"]} == {"slowest", "all"}


def test_wrong_references_and_options_are_refused(experiment: Path) -> None:
    """64 and words, never a traceback."""
    for words in (
        ("explain", "no-such-thing"),
        ("explain", "latest"),
        ("explain", str(experiment), "--metric", "speed"),
        ("explain", str(experiment), "--sobol", "3"),
        ("explain", str(experiment), "--profile", "indigo"),
    ):
        result = call(*words)
        assert result.exit_code in (2, 64), (words, result.output)
        assert "Traceback" not in result.output


def test_predict_records_the_profile(experiment: Path) -> None:
    """Name and hash stand in the prediction; another profile is another program."""
    documents = [
        json.loads(
            call(
                *("predict", str(experiment), "--json", "--replications", "2", "--calibration", "shipped"),
                *("--profile", name),
            ).stdout
        )
        for name in ("lab-iam", "indigo-iam")
    ]
    assert [document["profile"]["name"] for document in documents] == ["lab-iam", "indigo-iam"]
    assert documents[0]["program_hash"] != documents[1]["program_hash"]
    assert documents[0]["calibration"] == documents[1]["calibration"]
    assert all(len(document["profile"]["hash"]) == 64 for document in documents)


def test_a_flow_without_demands_is_refused(experiment: Path) -> None:
    """By file and key, with what to use instead, before anything is simulated."""
    experiment.write_text(EXPERIMENT.replace("FLOW", "login"))
    for words in (("plan", str(experiment), "--no-predict"), ("predict", str(experiment))):
        result = call(*words)
        assert result.exit_code == 64
        assert "login" in result.output and "not measured" in result.output
