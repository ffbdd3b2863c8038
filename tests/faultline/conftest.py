"""A finished run, made by hand: the shapes are the product's, the numbers are drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.hypothesis import Hypothesis, Scope
from experiments.metrics import reduce
from experiments.observation import Audit, Event, Observation
from experiments.workload import Workload
from faultline.home import Home, RunDirectory
from faultline.results import judge_run
from faultline.verdict import Interval
from topologies import load

WINDOW = (35.0, 55.0)


def drawn_observation(seed: int = 1) -> Observation:
    """Ninety seconds of requests in which edi loses its links for twenty."""
    generator = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for start in np.sort(generator.uniform(0, 90, 3600)):
        hit = WINDOW[0] <= start < WINDOW[1] + 3
        site = str(generator.choice(["ral", "cam", "edi"]))
        bad = hit and generator.random() < (0.9 if start < WINDOW[0] + 6 else 0.12)
        latency = float(generator.lognormal(-2.6 + 0.7 * hit, 0.5))
        outcome, status = "ok", 200
        if bad:
            outcome, status = [
                ("timeout", 0),
                ("gateway-timeout", 504),
                ("unavailable", 503),
                ("stale", 401),
            ][int(generator.choice(4, p=[0.5, 0.2, 0.2, 0.1]))]
            latency = min(10.0, latency * 20)
        request = str(generator.choice(["password", "refresh", "token-exchange"]))
        rows.append((start, latency, "load", site, "workflow", request, status, outcome, site))
    for site in ("ral", "cam", "edi"):
        for start in np.arange(0, 90, 0.05):
            gone = WINDOW[0] <= start < WINDOW[0] + (6.4 if site != "edi" else 22.0)
            rows.append(
                (
                    start,
                    0.02,
                    "probe",
                    site,
                    "health",
                    "health",
                    0 if gone else 200,
                    "timeout" if gone else "ok",
                    site,
                )
            )
        for start in np.arange(0, 90, 0.5):
            gone = WINDOW[0] <= start < WINDOW[0] + 7.0
            outcome = "timeout" if gone else "ok"
            rows.append(
                (
                    start,
                    0.04,
                    "probe",
                    site,
                    "access-token",
                    "access-token",
                    0 if gone else 200,
                    outcome,
                    site,
                )
            )
    names = ["start", "latency", "source", "site", "flow", "request", "status", "outcome", "front_end"]
    requests = pd.DataFrame(rows, columns=names).sort_values("start", ignore_index=True)
    events = (
        Event(35.0, "experiment", "fault.inject", "partition edi"),
        Event(35.01, "ral-edi", "link.cut"),
        Event(35.01, "cam-edi", "link.cut"),
        Event(40.4, "cache@ral", "redis.sdown", "replica at edi"),
        Event(41.2, "db@edi", "galera.non-primary"),
        Event(41.3, "db@ral", "galera.view", "2 of 3 members"),
        Event(41.3, "db@cam", "galera.view", "2 of 3 members"),
        Event(42.0, "frontend@ral", "haproxy.server-down", "iam@edi"),
        Event(55.0, "experiment", "fault.undo"),
        Event(55.01, "ral-edi", "link.healed"),
        Event(58.4, "db@edi", "galera.primary"),
        Event(58.5, "db@ral", "galera.view", "3 of 3 members"),
        Event(61.0, "frontend@ral", "haproxy.server-up", "iam@edi"),
    )
    return Observation(
        requests, events, Audit(2900, 0, 0, 41, 12, "all on 3 members"), 90.0, 15.0, (WINDOW,), {}
    )


def write_finished_run(home: Home) -> RunDirectory:
    """Write all files of a run that a report is made from."""
    topology, workload = load("iris-3site-galera", size="lab"), Workload()
    measured = reduce(drawn_observation(1), topology, workload)
    expected = reduce(drawn_observation(2), topology, workload)
    generator = np.random.default_rng(5)
    intervals = {}
    for key, found in expected.items():
        off = 1 + (generator.normal(0, 0.05) if found.value else 0.0)
        half = abs(found.value) * 0.12
        intervals[key] = Interval(
            max(0.0, found.value * off - half),
            found.value * off,
            found.value * off + half,
            float(found.censored),
        )
    hypotheses = [
        Hypothesis(metric="success_ratio", scope=Scope(site="ral"), expect=">= 99%").completed(workload),
        Hypothesis(metric="recovery_time", scope=Scope(flow="access-token"), expect="<= 10s"),
        Hypothesis(metric="lost_commits", expect="<= 0"),
    ]
    result = judge_run(intervals, measured, hypotheses)
    run = home.new_run("One site loses its VPN links for 20 s")
    t = np.arange(90) + 0.5
    dip = np.where((t > WINDOW[0]) & (t < WINDOW[0] + 6), 0.12, np.where((t > 41) & (t < 58), 0.86, 1.0))

    def band(low: Any, point: Any, high: Any) -> dict[str, list[float]]:
        return {"t": t.tolist(), "low": low.tolist(), "point": point.tolist(), "high": high.tolist()}

    slow = np.where(dip < 1, 2.0, 1.0)
    course = {
        "throughput": band(38 * dip * 0.75, 39 * dip, 39 * dip * 1.22),
        "latency_p50": band(0.055 * slow, 0.074 * slow, 0.1 * slow),
        "latency_p95": band(0.13 * slow, 0.18 * slow, 0.27 * slow),
    }
    run.write_json(
        "prediction",
        {
            "title": "One site loses its VPN links for 20 s",
            "seed": 7,
            "replications": 20,
            "engine": "reference",
            "program_hash": "ab" * 32,
            "calibration": {"hash": "cd" * 32, "source": "shipped"},
            "metrics": {
                key: {
                    "interval90": [found.low, found.high],
                    "median": found.point,
                    "censored": found.censored,
                }
                for key, found in intervals.items()
            },
            "course": course,
            "duration": 90.0,
            "warmup": 15.0,
            "windows": [list(WINDOW)],
            "timeline": [{"name": "cut"}],
        },
    )
    run.write_json(
        "measurement",
        {
            "backend": "local",
            "validation": True,
            "metrics": {key: dataclasses.asdict(value) for key, value in measured.items()},
            "duration": 90.0,
            "warmup": 15.0,
            "windows": [list(WINDOW)],
            "health": {
                "machine busy": 0.41,
                "steal": 0.0,
                "relay lateness p99 ms": 1.2,
                "prober late ms": 2.1,
            },
            "disturbances": [],
        },
    )
    run.write_json("verdict", result.to_json())
    run.write_json(
        "record",
        {
            "run_id": run.id,
            "stage": "done",
            "title": "One site loses its VPN links for 20 s",
            "description": "The database cluster must drop the site and go on; sessions must survive.",
            "started": "2025-01-02T10:11:12+00:00",
            "backend": "local",
            "size": "lab",
            "seed": 7,
            "topology": topology.model_dump(mode="json"),
            "cut": [["ral", "edi"], ["cam", "edi"]],
            "files": {
                "experiment": "experiments/site-cut.yaml",
                "topology": "topologies/iris-3site-galera.yaml",
            },
            "lab": {
                "wireguard": "user space (wireguard-go)",
                "delay": "relay",
                "cpu quota": "0.4 cores per site",
            },
            "versions": {"mariadbd": "10.11.6", "redis": "7.0.15", "haproxy": "2.6.12"},
            "machine": {"cpu": "2 cores", "kernel": "6.1"},
            "ledger": {"prediction": {"n": 1, "hash": "ef" * 32}},
        },
    )
    lines = [json.dumps(dataclasses.asdict(event)) for event in drawn_observation(1).events]
    run.write_text("events.jsonl", "\n".join(lines) + "\n")
    drawn_observation(1).requests.to_parquet(run.path / "samples.parquet")
    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home directory of this test's own."""
    monkeypatch.setenv("FAULTLINE_HOME", str(tmp_path / "home"))
    return Home.find().create()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run's directory, without its reports."""
    return write_finished_run(Home(tmp_path_factory.mktemp("finished")).create())
