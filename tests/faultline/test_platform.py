"""Predictions for clusters: when they are made, what they say, and what is refused."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from experiments.faults import Kill, ScheduledFault
from experiments.kubernetes_faults import PodDelete
from faultline.cli import app
from faultline.home import Home
from faultline.inputs import platform_of, prepare
from faultline.labs import open_lab
from faultline.plan import make_plan

KILL = ScheduledFault(name="k", fault=Kill(target="iam@ral"), at=1.0)
DELETE = ScheduledFault(name="d", fault=PodDelete(target="iam@ral"), at=1.0)
SHORT = ["--set", "workload.duration=60s", "--set", "workload.users=2", "--replications", "2"]


@pytest.mark.parametrize(
    ("backend", "plain", "with_cluster_fault"),
    [
        ("kind", "kubernetes", "kubernetes"),
        ("kubernetes", "kubernetes", "kubernetes"),
        ("local", None, None),
        ("simulated", None, "kubernetes"),
        (None, None, "kubernetes"),
    ],
)
def test_platform_follows_the_backend_and_the_faults(
    backend: str | None, plain: str | None, with_cluster_fault: str | None
) -> None:
    """Clusters where the backend has them, and where it may have them if a fault takes them."""
    assert platform_of(backend, [KILL]) == plain
    assert platform_of(backend, [KILL, DELETE]) == with_cluster_fault


def test_prediction_for_clusters_says_so(home: Home) -> None:
    """A fault of clusters is predicted on clusters by itself; the document names the platform."""
    result = CliRunner().invoke(app, ["predict", "pod-kill", *SHORT, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["platform"] == "kubernetes"
    assert "time_to{event=pod.ready}@whole" in document["metrics"]


def test_the_same_experiment_differs_by_platform(home: Home) -> None:
    """An experiment that runs anywhere gets another program for clusters, and an unchanged one without."""
    here = prepare("member-kill", home=home)
    there = prepare("member-kill", home=home, backend="kind")
    assert here.platform is None
    assert here.scenario.platform is None
    assert there.scenario.platform == "kubernetes"
    assert "clusters (fl-*)" in make_plan(there).safety[0]
    assert "clusters" not in make_plan(here).safety[0]
    assert make_plan(there).expected > make_plan(here).expected


def test_cluster_faults_are_refused_where_there_is_no_cluster(home: Home) -> None:
    """`--backend local` cannot have what only clusters have: exit 64, with the line and what to do."""
    result = CliRunner().invoke(app, ["plan", "pod-kill", "--backend", "local", "--no-predict"])
    assert result.exit_code == 64
    assert "kind" in result.output


def test_simulated_lab_of_clusters(home: Home) -> None:
    """The simulated backend models clusters when the experiment needs them."""
    inputs = prepare("pod-kill", home=home, backend="simulated")
    lab = open_lab(inputs, "simulated", lambda text: None)
    lab.up(inputs.topology)
    assert {status.state for status in lab.status()} == {"up"}
    lab.down()
