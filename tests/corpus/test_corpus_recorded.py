"""The recorded runs are what they say: registered first, judged by the rules of this version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record_corpus import RECORDED, summary
from experiments.catalogue import MetricKey
from experiments.loader import library, load
from experiments.timeline import needs_clusters

FILES = sorted(RECORDED.glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One recorded run."""
    path: Path = request.param
    recorded: dict[str, Any] = json.loads(path.read_text())
    return recorded


def test_every_experiment_of_the_library_has_been_run() -> None:
    """A recorded run for each that takes no clusters; those that do may have one."""
    anywhere = {name for name in library() if not needs_clusters(load(name))}
    assert anywhere <= {path.stem for path in FILES}


def test_the_prediction_was_registered_before_the_measurement(run: dict[str, Any]) -> None:
    """In the ledger the prediction stands before the measurement, and that before the verdict."""
    rows = run["ledger"]
    assert rows["prediction"]["n"] < rows["measurement"]["n"] < rows["verdict"]["n"]


def test_the_machine_and_the_hashes_are_there(run: dict[str, Any]) -> None:
    """Where it ran, with what, and which program and calibration predicted it."""
    assert {"cpu", "cores", "memory", "kernel"} <= set(run["machine"])
    daemons = {"mariadbd", "galera", "redis-server", "haproxy", "nginx", "gdnsd"}
    clusters = {"docker", "kubernetes"}  # whose daemons are in the images
    wanted = clusters if run.get("backend") == "kind" else daemons
    assert wanted <= set(run["lab"]["versions"])
    assert run.get("backend") != "kind" or run["lab"]["images"]
    for name in ("program", "calibration"):
        assert len(run[name]) == 64


def test_verdicts_follow_from_the_numbers(run: dict[str, Any]) -> None:
    """What held was inside its interval, give or take the error bar; a disturbed run concludes nothing."""
    for metric in run["metrics"]:
        MetricKey.parse(metric["key"])
        if run["disturbances"]:
            assert metric["verdict"] == "inconclusive"
        elif metric["verdict"] == "held":
            assert metric["value"] is not None
            room = metric["resolution"] + 1e-9
            # Censored: it did not come within the run, and that is what was predicted.
            assert metric["censored"] or metric["low"] - room <= metric["value"] <= metric["high"] + room


def test_the_summary_is_current() -> None:
    """The page beside the runs says what the runs say."""
    runs = {path.stem: json.loads(path.read_text()) for path in FILES}
    assert (RECORDED / "README.md").read_text() == summary(runs)
