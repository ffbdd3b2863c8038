"""Kubernetes faults under plain Chaos Toolkit: on simulated clusters, and refused where there are none."""

from __future__ import annotations

import pytest
from chaoslib.experiment import run_experiment

from chaos.toolkit.session import current_or_none
from experiments.loader import load
from experiments.model import Experiment


def quick(name: str) -> Experiment:
    """A library experiment with only two users."""
    return load(name, overrides=["workload.users=2"])


@pytest.mark.parametrize("name", ["pod-kill", "node-stop", "gateway-kill", "drain"])
def test_the_simulated_lab_has_clusters_when_a_fault_takes_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`FAULTLINE_BACKEND=simulated chaos run` runs all four to their end, with times of pods or nodes."""
    monkeypatch.setenv("FAULTLINE_BACKEND", "simulated")
    journal = run_experiment(quick(name).raw, settings={})
    assert journal["status"] == "completed"
    found = journal["faultline"]["metrics"]
    assert not found["time_to{event=pod.deleted}@whole"]["censored"]
    assert found["time_to{event=node.not-ready}@whole"]["censored"] == (name != "node-stop")
    assert current_or_none() is None


def test_the_local_lab_refuses_before_it_is_brought_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what to set instead; nothing is started."""
    monkeypatch.setenv("FAULTLINE_BACKEND", "local")
    journal = run_experiment(load("pod-kill").raw, settings={})
    assert journal["status"] == "interrupted"
    assert journal["run"] == []
    assert "pod-delete takes a Kubernetes cluster" in caplog.text
    assert "set FAULTLINE_BACKEND=kind" in caplog.text
    assert current_or_none() is None
