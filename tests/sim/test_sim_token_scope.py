"""The table token_scope grows with every token, and a refresh that clears access tokens reads all of it."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.metrics import reduce
from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.profile import load
from sim.program import compile_program
from topologies.model import Topology


def topology(rows: int = 0, **database: Any) -> Topology:
    """One machine, or what ``database`` says."""
    return Topology.model_validate(
        {
            "topology": "one-machine",
            "sites": {"a": {"nodes": 1, "cpu": 2}},
            "services": {
                "iam": {
                    "kind": "indigo-iam",
                    "replicas": {"a": 1},
                    "database": "db",
                    "token_scope_rows": rows,
                },
                "db": database or {"kind": "galera", "members": {"a": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def simulate(
    found: Topology, flow: str, users: int, seconds: float, profile: str = "indigo-iam"
) -> Simulation:
    """A run without think time."""
    workload = Workload.model_validate(
        {"flow": flow, "users": users, "ramp": 100.0, "think": 0.0, "duration": seconds, "warmup": 1.0}
        | {"probes": [], "timeout": 60.0}
    )
    base = Calibration.default().model_copy(update={"proxy_cpu": Estimate(mean=0.0)})
    calibration = load(profile).calibrated(base, found)
    simulation = Simulation.of(compile_program(found, workload, (), calibration, size="production"), 1)
    simulation.run_until(seconds)
    return simulation


def refresh_median(simulation: Simulation) -> float:
    """Of the refresh requests, seconds."""
    requests = simulation.observation().requests
    chosen = requests[(requests["request"] == "refresh") & (requests["outcome"] == "ok")]
    return float(chosen["latency"].median())


@pytest.mark.parametrize(
    "database",
    [
        {"kind": "galera", "members": {"a": 2}},
        {"kind": "mariadb-replication", "primary": "a", "replicas": []},
    ],
)
def test_every_token_leaves_its_scopes(database: dict[str, Any]) -> None:
    """Two rows for each client token that was committed, on every member."""
    simulation = simulate(topology(10, **database), "access-token", 2, 6.0)
    deployment = simulation._running
    committed = [call for call in deployment.load.calls if call.transaction and call.transaction.committed]
    assert len(committed) > 50
    for member in deployment.members:
        behind = len(committed) - member.visible
        assert member.token_scope_rows == 10 + 2 * (len(committed) - behind)


def test_a_refresh_reads_all_rows() -> None:
    """1.8 ms of the database's CPU per 1000 rows."""
    small, large = (refresh_median(simulate(topology(rows), "refresh", 1, 12.0)) for rows in (0, 20_000))
    assert large - small == pytest.approx(0.036, rel=0.25)


def test_scans_wait_for_each_other() -> None:
    """A large table: refreshes come one after the other, whatever the cores."""
    found = topology(200_000)
    simulation = simulate(found, "refresh", 8, 20.0)
    workload = Workload(flow="refresh", users=8, duration=20.0, warmup=1.0, probes=())
    metrics = {str(k): v.value for k, v in reduce(simulation.observation(), found, workload).items()}
    done = metrics["throughput{flow=refresh,request=refresh}@whole"]
    assert 0 < done < 1.1 / 0.36  # the scan alone takes 0.36 s


def test_the_labs_scan_costs_what_was_measured_there() -> None:
    """0.88 ms of the database's CPU per 1000 rows: the same server, less to compare."""
    small, large = (
        refresh_median(simulate(topology(rows), "refresh", 1, 12.0, "lab-iam")) for rows in (0, 20_000)
    )
    assert large - small == pytest.approx(0.0176, rel=0.25)
