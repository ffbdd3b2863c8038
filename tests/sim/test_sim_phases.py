"""Where the time of each request goes: all of it is accounted for, and to the right mechanism."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.phases import PHASES, Watch, breakdowns, watch
from sim.predict import Scenario
from sim.profile import load
from sim.program import Program, compile_program
from topologies.model import Topology


def topology(rtt: float, members: dict[str, int], database: dict[str, Any] | None = None) -> Topology:
    """The service at site a, database members where ``members`` says."""
    return Topology.model_validate(
        {
            "topology": "two-sites",
            "sites": {"a": {"nodes": 1, "cpu": 2}, "b": {"nodes": 1, "cpu": 2}},
            "links": [{"between": ["a", "b"], "rtt": rtt, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1}, "database": "db"},
                "db": database or {"kind": "galera", "members": members},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def program(found: Topology, users: int = 1, flow: str = "access-token") -> Program:
    """A short load on it, no VPN."""
    workload = Workload.model_validate(
        {"flow": flow, "users": users, "ramp": 100.0, "think": 0.0, "duration": 8.0, "warmup": 0.0}
        | {"probes": []}
    )
    nothing = Estimate(mean=0.0)
    base = Calibration.default().model_copy(update={"vpn_delay": nothing, "public_delay": nothing})
    return compile_program(found, workload, (), load("indigo-iam").calibrated(base, found), size="production")


def parts(found: pd.DataFrame) -> pd.Series:
    """Sum of the phases of each request."""
    return found[list(PHASES)].sum(axis=1)


@pytest.mark.parametrize("flow", ["access-token", "workflow"])
def test_all_time_is_accounted_for(flow: str) -> None:
    """The phases of every request add up to its latency, under load and with conflicts."""
    found = watch(program(topology(0.01, {"a": 1, "b": 1}), users=8, flow=flow), 1)
    assert len(found) > 50
    assert (parts(found) - found["latency"]).abs().max() < 1e-9


def test_watching_changes_nothing() -> None:
    """The same requests, to the last bit."""
    compiled = program(topology(0.01, {"a": 1, "b": 1}), users=6, flow="workflow")
    plain = Simulation.of(compiled, 3)
    plain.run_until(8.0)
    watched = Simulation.of(compiled, 3)
    seen = Watch(watched)
    watched.run_until(8.0)
    pd.testing.assert_frame_equal(plain.observation().requests, watched.observation().requests)
    assert len(seen.table()) == len(plain.observation().requests)


def test_a_remote_database_is_network() -> None:
    """One round trip for each of 92 statements."""
    found = watch(program(topology(0.02, {"b": 1})), 1)
    assert found["network"].median() == pytest.approx(92 * 0.02, rel=0.01)
    assert found["lock"].max() == 0


def test_a_second_member_is_ordering() -> None:
    """A commit between two sites waits one round trip to be ordered."""
    found = watch(program(topology(0.04, {"a": 1, "b": 1})), 1)
    assert found["ordering"].median() == pytest.approx(0.04, rel=0.02)
    assert found["network"].max() < 1e-9


def test_a_semi_synchronous_replica_is_ordering_and_the_flush_commit() -> None:
    """The acknowledgement takes a round trip; asynchronous replication has none."""
    kind = {"kind": "mariadb-replication", "primary": "a", "replicas": ["b"]}
    semi = watch(program(topology(0.04, {}, {**kind, "semi_sync": True})), 1)
    plain = watch(program(topology(0.04, {}, kind)), 1)
    assert semi["ordering"].median() == pytest.approx(0.04, rel=0.02)
    assert plain["ordering"].max() < 1e-9
    assert 0 < plain["commit"].median() < 0.005


def test_refreshes_wait_for_the_lock_and_users_for_cpu() -> None:
    """On one machine: the lock on token_scope serialises refreshes, two cores serve eight users."""
    alone = watch(program(topology(0.01, {"a": 1}), users=1, flow="workflow"), 1)
    many = watch(program(topology(0.01, {"a": 1}), users=8, flow="workflow"), 1)
    assert alone["lock"].max() == 0
    assert many.loc[many["request"] == "refresh", "lock"].mean() > 0.005
    assert many["cpu queue"].mean() > alone["cpu queue"].mean() + 0.01
    assert many["cpu"].mean() == pytest.approx(alone["cpu"].mean(), rel=0.15)


def test_the_slowest_are_told_apart() -> None:
    """Two groups with intervals; shares add up; the slowest are slower."""
    found = topology(0.01, {"a": 1})
    workload = Workload(flow="workflow", users=6, think=0.1, duration=10.0, warmup=1.0, probes=())
    calibration = load("indigo-iam").calibrated(Calibration.default(), found)
    slowest, everything = breakdowns(Scenario(found, workload, size="production"), calibration, 1)
    assert slowest.latency > everything.latency
    assert 0 < slowest.requests < everything.requests
    for part in (slowest, everything):
        assert sum(share.share for share in part.phases) == pytest.approx(1)
        for share in part.phases:
            assert share.interval[0] <= share.seconds <= share.interval[1] + 1e-12
