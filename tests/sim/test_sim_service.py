"""What a request holds while the identity service works on it."""

from __future__ import annotations

import pytest

from experiments.workload import Workload
from sim.calibration import Calibration
from sim.engine.reference import Simulation
from sim.profile import load
from sim.program import compile_program
from sim.steps import HASH, KINDS, READ, compile_steps
from topologies.model import IndigoIam, Topology


def one_site(pool: int) -> Topology:
    """A service with a database of its own and ``pool`` connections to it, on more cores than users."""
    return Topology.model_validate(
        {
            "topology": "one-site",
            "sites": {"a": {"nodes": 1, "cpu": 16}},
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1}, "database": "db", "pool": pool},
                "db": {"kind": "galera", "members": {"a": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


class TestPasswordHash:
    """BCrypt takes most of a password request's time and none of the database's connections."""

    def test_stands_between_two_reads(self) -> None:
        """Account load, BCrypt, account load: with the CPU of the profile and no statement."""
        topology = one_site(50)
        calibration = load("indigo-iam").calibrated(Calibration.default(), topology)
        iam = next(s for s in topology.services.values() if isinstance(s, IndigoIam))
        tables = compile_steps(iam, calibration)
        kind = KINDS.index("password")
        rows = range(tables.first[kind], tables.first[kind + 1])
        place = next(row for row in rows if tables.kind[row] == HASH)
        assert tables.kind[place - 1] == tables.kind[place + 1] == READ
        assert tables.app_cpu[place] == pytest.approx(0.07)
        assert tables.trips[place] == tables.db_cpu[place] == tables.wait[place] == 0

    def test_holds_no_connection(self) -> None:
        """Eight users share one connection: they wait for each other's statements, not for the hashes.

        A hash that held it would make eight requests take eight times 93 ms.
        """
        topology = one_site(1)
        calibration = load("indigo-iam").calibrated(Calibration.default(), topology)
        asked = Workload(flow="refresh", users=8, ramp=1e4, think=1e5, duration=20.0, warmup=0.0, probes=())
        simulation = Simulation.of(compile_program(topology, asked, (), calibration, size="production"), 1)
        simulation.run_until(20.0)
        requests = simulation.observation().requests
        password = requests[requests["request"] == "password"]
        assert set(password["outcome"]) == {"ok"}
        assert len(password) == 8
        assert password["latency"].max() < 0.07 + 8 * 0.03
