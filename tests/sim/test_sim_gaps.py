"""Write sets of other members meet local transactions in gaps: against what was measured."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import pytest

from experiments.workload import Workload
from sim.calibration import Calibration, Demand, Estimate
from sim.engine import galera_member
from sim.engine.database import Member, Transaction
from sim.engine.gaps import Gaps
from sim.engine.reference import Simulation
from sim.program import compile_program
from sim.protocols import certification
from topologies.loader import load
from topologies.model import Topology

MACHINE = {
    "access-token": (4.6, 5.6),
    "password": (63.5, 9.0),
    "refresh": (5.5, 7.4),
    "token-exchange": (5.2, 6.6),
    "health": (1.0, 0.2),
}
"""Calibration of the machine on which all of the below was measured: CPU of service and database, ms."""


def machine() -> Calibration:
    """That calibration."""
    base = Calibration.default()
    requests = {
        kind: Demand(
            app_cpu=Estimate(mean=app / 1e3, cv=0.2),
            db_cpu=Estimate(mean=db / 1e3, cv=0.3),
            wait=Estimate(mean=0.0006),
        )
        for kind, (app, db) in MACHINE.items()
    }
    costs = {
        "apply_cpu": Estimate(mean=0.0014, cv=0.1),
        "local_commit": Estimate(mean=0.0033, cv=0.3),
        "statement_rtt": Estimate(mean=1e-5),
    }
    return base.model_copy(update={"requests": requests, **costs})


def transaction(number: int, **values: Any) -> Transaction:
    """One that stands nowhere."""
    found = Transaction(number, cast(Member, None), None)
    for name, value in values.items():
        setattr(found, name, value)
    return found


class TestGaps:
    """Who is in the way of a write set."""

    def test_below_the_first_token_of_a_page(self) -> None:
        """Keys of the other member that are lower and late meet it; higher ones do not."""
        here = Gaps(2, index=0, members=2)
        first, second, third = (transaction(number) for number in (1, 2, 3))
        for one in (first, second, third):
            here.insert(one, 0, False)
        assert [one.token for one in (first, second, third)] == [2, 4, 6]
        assert third.below == 4
        local = [first, second, third]
        assert here.met(transaction(9, token=5), local) == [third]
        assert here.met(transaction(9, token=7), local) == []
        here.end(third)
        assert here.met(transaction(9, token=5), local) == []

    def test_a_scan_that_waits_meets_deletes_and_its_neighbours(self) -> None:
        """While it runs it has not come to the young rows; its neighbours' gap is locked all along."""
        here = Gaps(16)
        password, scanner = transaction(1), transaction(2)
        here.insert(password, 0, True)
        here.scan(scanner, password.family)
        refresh = transaction(3, clears=True)
        exchange = transaction(4, token=50)
        fresh = transaction(5, family=password.family + 1, fresh=True)
        assert here.met(refresh, []) == []
        assert here.met(exchange, []) == []
        assert here.met(fresh, []) == [scanner]
        here.wait()
        assert here.met(refresh, []) == [scanner]
        assert here.met(exchange, []) == []
        here.arrive(fresh)
        assert here.met(transaction(6, family=password.family + 2, fresh=True), []) == []
        here.passed()
        assert here.met(refresh, []) == []


class TestPlainIssuances:
    """Client tokens at two members on loopback, six clients, each asking again at once."""

    @pytest.fixture(scope="class")
    @staticmethod
    def run() -> tuple[pd.DataFrame, int]:
        """Requests, and how often a write set found somebody in its way."""
        topology = Topology.model_validate(
            {
                "topology": "loopback",
                "sites": {name: {"nodes": 1, "cpu": 2, "host": "box"} for name in "ab"},
                "links": [{"between": ["a", "b"], "rtt": "0.1ms", "vpn": "none"}],
                "services": {
                    "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
                    "db": {"kind": "galera", "members": {"a": 1, "b": 1}},
                    "frontend": {
                        "kind": "haproxy",
                        "sites": ["a", "b"],
                        "backend": "iam",
                        "reach": "local",
                    },
                },
                "clients": {f"{name}-users": {"site": name} for name in "ab"},
            }
        )
        asked = Workload(
            flow="access-token", users=6, ramp=100.0, think=0.0, duration=80.0, warmup=0.0, probes=()
        )
        found = compile_program(topology, asked, (), machine(), size="production")
        met = 0
        with pytest.MonkeyPatch.context() as patch:
            inner = galera_member.GaleraMember._brute_force

            def counted(member: galera_member.GaleraMember, local: Transaction, seqno: int) -> None:
                nonlocal met
                met += 1
                inner(member, local, seqno)

            patch.setattr(galera_member.GaleraMember, "_brute_force", counted)
            simulation = Simulation.of(found, 1)
            simulation.run_until(80.0)
        return simulation.observation().requests, met

    def test_conflict_as_often_as_measured(self, run: tuple[pd.DataFrame, int]) -> None:
        """Measured: 23 of 8790 requests, 0.26 %. Nothing of the model was fitted to it: a factor of three.

        It is on the low side: the gaps of three tables with smaller rows are left out.
        """
        requests, _ = run
        share = float((requests["outcome"] == "conflict").mean())
        assert 0.0026 / 3 < share < 0.0026 * 3

    def test_most_victims_commit_all_the_same(self, run: tuple[pd.DataFrame, int]) -> None:
        """Measured: 0.6 to 1.6 % of the write sets met somebody; most of those were committing: replayed."""
        requests, met = run
        assert 0.004 < met / len(requests) < 0.024
        assert (requests["outcome"] == "conflict").sum() < 0.5 * met


class TestClearingRefreshes:
    """The lab's baseline: three members 30 ms apart, 40 users of the whole workflow."""

    @pytest.fixture(scope="class")
    @staticmethod
    def runs() -> tuple[pd.DataFrame, list[str]]:
        """Requests of the users, and what each aborted refresh was doing."""
        asked = Workload(flow="workflow", users=40, ramp=10.0, think=5.0, duration=75.0, warmup=15.0)
        program = compile_program(load("iris-3site-galera", size="lab"), asked, (), machine())
        tables, doing = [], []
        with pytest.MonkeyPatch.context() as patch:
            inner = galera_member.GaleraMember._brute_force

            def noted(member: galera_member.GaleraMember, local: Transaction, seqno: int) -> None:
                if local.clears and local.state == certification.EXECUTING:
                    doing.append("scan" if member.gaps._scanner is local else "hold")
                inner(member, local, seqno)

            patch.setattr(galera_member.GaleraMember, "_brute_force", noted)
            for seed in (1, 2, 3):
                simulation = Simulation.of(program, seed)
                simulation.run_until(75.0)
                tables.append(simulation.observation().requests)
        requests = pd.concat(tables)
        return requests[(requests["source"] == "load") & (requests["start"] >= 15.0)], doing

    @pytest.mark.parametrize(
        ("request_kind", "measured", "within"),
        [("refresh", 0.70, 0.08), ("password", 0.995, 0.01), ("token-exchange", 0.998, 0.01)],
    )
    def test_fail_as_often_as_measured(
        self, runs: tuple[pd.DataFrame, list[str]], request_kind: str, measured: float, within: float
    ) -> None:
        """Measured in two runs: refresh 0.70 and 0.72; issuances, which gaps abort too, nearly always."""
        requests, _ = runs
        mine = requests[requests["request"] == request_kind]
        assert (mine["outcome"] == "ok").mean() == pytest.approx(measured, abs=within)

    def test_many_are_lost_while_they_still_scan(self, runs: tuple[pd.DataFrame, list[str]]) -> None:
        """Measured: 72 of 180 aborted statements were the scan itself (`wsrep_log_conflicts`)."""
        _, doing = runs
        assert doing.count("scan") / len(doing) == pytest.approx(72 / 180, abs=0.2)
