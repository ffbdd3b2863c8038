"""Service profiles: files, their errors, and what they make of the step tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.workload import STEPS, Workload
from sim import steps
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.profile import library, load
from sim.program import compile_program
from sim.steps import KINDS, StepTables, compile_steps, refusal, round_trips
from topologies.errors import InputError
from topologies.loader import load as load_topology
from topologies.model import IndigoIam, Topology

FACTS = {
    "access-token": (92, 5, 67, 0, 8, 2, 32),
    "password": (151, 5, 94, 21, 17, 4, 70),
    "token-exchange": (154, 5, 87, 37, 12, 3, 57),
    "introspect": (133, 12, 56, 41, 0, 0, 0),
    "userinfo": (136, 2, 24, 106, 0, 0, 0),
    "revoke": (89, 3, 50, 27, 3, 0, 32),
    "reuse_clear": (156, 5, 98, 34, 8, 1, 62),
    "reuse": (153, 5, 98, 34, 5, 1, 59),
    "rotate": (156, 5, 98, 34, 7, 2, 62),
    "rotate_clear": (160, 5, 99, 34, 10, 2, 66),
}
"""facts/iam.md 1.2: statements, tx, SELECT in tx, autocommit SELECT, DML, LAST_INSERT_ID, write tx alone."""


@pytest.fixture
def topology() -> Topology:
    """Two sites, two members."""
    return load_topology("iris-2site-galera", size="lab")


def iam_of(topology: Topology) -> IndigoIam:
    """Its identity service."""
    return next(service for service in topology.services.values() if isinstance(service, IndigoIam))


def tables(topology: Topology, name: str) -> StepTables:
    """Step tables of a library profile on the shipped calibration."""
    return compile_steps(iam_of(topology), load(name).calibrated(Calibration.default(), topology))


def lines_of(found: StepTables, kind: str) -> slice:
    """Rows of one request kind."""
    place = KINDS.index(kind)
    return slice(int(found.first[place]), int(found.first[place + 1]))


class TestFiles:
    """The library's own, and a user's wrong ones."""

    def test_statements_are_those_counted_on_the_real_service(self) -> None:
        """Totals, write transactions and wait points agree with the recorded counts."""
        profile = load("indigo-iam")
        for name, (total, tx, inside, auto, dml, last, write) in FACTS.items():
            assert 3 * tx + inside + auto + dml + last == total
            found = profile.requests[name] if name in profile.requests else getattr(profile.refresh, name)
            assert (found.statements, found.write_statements) == (total, write), name
            assert found.points == tx + auto, name

    def test_the_library_has_both_and_every_number_a_source(self) -> None:
        """`lab-iam` without demands, `indigo-iam` with all of them."""
        assert set(library()) == {"lab-iam", "indigo-iam"}
        lab, indigo = load("lab-iam"), load("indigo-iam")
        assert all(request.app_cpu is None for request in lab.requests.values())
        assert all(request.app_cpu is not None for request in indigo.requests.values())
        assert lab.hash != indigo.hash
        for kind in ("access-token", "password", "token-exchange", "health"):
            assert lab.requests[kind].statements == indigo.requests[kind].statements

    def test_an_unknown_name_is_refused_with_the_near_one(self) -> None:
        """No such profile: the message names the option, the nearest and all."""
        with pytest.raises(
            InputError, match=r"--profile: there is no service profile.*did you mean 'indigo-iam'"
        ):
            load("indigo")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("statements: 92", "statements: 93", "the steps have 92 statements"),
            ("- {do: begin}", "- {do: begin, at: 3}", "unknown key 'at'"),
            ("mean: 7.3ms", "mean: 7.3", "has no unit"),
            ("demands: here", "demands: elsewhere", "not a choice here"),
            ("      - {do: begin}\n", "", "outside a write transaction"),
            ("    app_cpu: {mean: 7.3ms, cv: 0.25, uncertainty: 10%}\n", "", "this one is missing"),
            (
                "statements: 29, framing: 3",
                "statements: 5, framing: 3",
                "fewer than framing and dml together",
            ),
            ("statements: 29, framing: 3", "statements: 29, framing: 2", "rows are deleted in transactions"),
            ("      - {statements: 1}\n", "      - {statements: 1, dml: 1}\n", "nothing is deleted"),
        ],
    )
    def test_mistakes_are_named_with_their_line(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        """File, line, what is wrong."""
        text = library()["indigo-iam"].read_text()
        assert old in text
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError) as caught:
            load(path)
        assert words in str(caught.value)
        assert caught.value.file == str(path)
        assert caught.value.line


class TestSteps:
    """What the engines get."""

    def test_no_profile_is_the_labs_service(self, topology: Topology) -> None:
        """A bare calibration and `lab-iam` are the same program."""
        bare = Calibration.default()
        assert load("lab-iam").calibrated(bare, topology) is bare
        assert (compile_steps(iam_of(topology), bare).trips == tables(topology, "lab-iam").trips).all()

    def test_demands_add_up_to_the_measured_ones(self, topology: Topology) -> None:
        """CPU and waiting of all steps of a request are what was measured for it."""
        profile, found = load("indigo-iam"), tables(topology, "indigo-iam")
        for kind in KINDS:
            request = profile.request(kind)
            assert request is not None and request.app_cpu and request.db_cpu and request.wait
            rows = lines_of(found, kind)
            assert found.trips[rows].sum() == request.statements - request.writes  # COMMIT goes by itself
            assert found.app_cpu[rows].sum() == pytest.approx(request.app_cpu.mean)
            assert found.db_cpu[rows].sum() == pytest.approx(request.db_cpu.mean)
            assert found.wait[rows].sum() == pytest.approx(request.wait.mean)

    def test_the_scan_lock_is_held_for_34_statements(self, topology: Topology) -> None:
        """Between the clear-access-tokens delete and the commit lie 34 statements and the signature."""
        found = tables(topology, "indigo-iam")
        rows = lines_of(found, "refresh")
        kinds = found.kind[rows].tolist()
        after = kinds.index(steps.LOCK_RANGE) + 1
        assert found.trips[rows][after:].sum() + 1 == 34  # and COMMIT
        assert found.row_cpu[rows].max() == pytest.approx(1.8e-6)

    def test_clearing_costs_what_refreshing_with_and_without_it_differ_by(self) -> None:
        """The three deletes carry the whole difference: 4.5 ms of the service, 3.1 ms of the database."""
        refresh = load("indigo-iam").refresh
        with_it, without = refresh.reuse_clear, refresh.reuse
        assert with_it.app_cpu and without.app_cpu and with_it.db_cpu and without.db_cpu
        work = [step for step in with_it.steps if step.do == "work"]
        extra = [sum(step.app_extra for step in work), sum(step.db_extra for step in work)]
        assert extra[0] == pytest.approx(with_it.app_cpu.mean - without.app_cpu.mean)
        assert extra[1] == pytest.approx(with_it.db_cpu.mean - without.db_cpu.mean)

    def test_inserts_weigh_more_than_selects(self, topology: Topology) -> None:
        """The write transaction has more of the database's CPU than of the statements."""
        found = tables(topology, "indigo-iam")
        rows = lines_of(found, "password")
        inside = found.kind[rows] == steps.WORK
        share = found.db_cpu[rows][inside].sum() / found.db_cpu[rows].sum()
        assert share > found.trips[rows][inside].sum() / found.trips[rows].sum() + 0.05

    def test_refresh_follows_the_clients_settings(self, topology: Topology) -> None:
        """Another variant, another demand and no scan."""
        iam = iam_of(topology).model_copy(
            update={"clear_access_tokens_on_refresh": False, "reuse_refresh_token": True}
        )
        name = next(n for n, s in topology.services.items() if isinstance(s, IndigoIam))
        changed = topology.model_copy(update={"services": {**topology.services, name: iam}})
        calibration = load("indigo-iam").calibrated(Calibration.default(), changed)
        assert calibration.requests["refresh"].app_cpu.mean == pytest.approx(10.4e-3)
        assert steps.LOCK_RANGE not in compile_steps(iam, calibration).kind

    def test_wait_points_are_shared_out_whole(self, topology: Topology) -> None:
        """Every transaction and autocommitted SELECT is in one step; the write transaction is one."""
        profile, found = load("indigo-iam"), tables(topology, "indigo-iam")
        for kind in KINDS:
            request = profile.request(kind)
            assert request is not None
            rows = lines_of(found, kind)
            assert found.points[rows].sum() == request.points, kind
            assert found.points[rows][found.kind[rows] == steps.WORK].sum() == request.writes

    def test_the_program_hash_covers_the_profile(self, topology: Topology) -> None:
        """Another profile, another program; the same twice, the same hash."""
        base = Calibration.default()
        hashes = [
            compile_program(topology, Workload(), (), load(name).calibrated(base, topology)).hash
            for name in ("lab-iam", "indigo-iam", "indigo-iam")
        ]
        assert hashes[0] != hashes[1] == hashes[2]

    def test_round_trips_of_the_lab_are_the_counts(self) -> None:
        """What calibration subtracts is what the profile says."""
        assert round_trips("access-token") == 92
        assert round_trips("introspect") == 0


class TestRefusals:
    """Flows that cannot be predicted."""

    @pytest.mark.parametrize("flow", ["introspect", "userinfo", "revoke", "login"])
    def test_the_lab_service_says_what_to_use(self, topology: Topology, flow: str) -> None:
        """No demand for a request of the flow: refused by name, never predicted as free."""
        workload = Workload.model_validate({"flow": flow})
        with pytest.raises(ValueError, match=STEPS[flow][-1]):
            compile_program(topology, workload)

    def test_login_is_refused_with_the_reason(self, topology: Topology) -> None:
        """It was not measured."""
        calibration = load("indigo-iam").calibrated(Calibration.default(), topology)
        assert "not measured" in refusal(Workload(flow="login"), calibration, iam_of(topology))
        assert refusal(Workload(flow="workflow"), calibration, iam_of(topology)) == ""


class TestTokenUse:
    """Flows that use a token once: the real service's requests beside the token endpoint."""

    @staticmethod
    def run(flow: str, users: int, members: int) -> pd.DataFrame:
        """Requests on ``members`` members of one machine, asked in turn."""
        found = Topology.model_validate(
            {
                "topology": "one-machine",
                "sites": {"a": {"nodes": 1, "cpu": 8}},
                "services": {
                    "iam": {"kind": "indigo-iam", "replicas": {"a": members}, "database": "db"},
                    "db": {"kind": "galera", "members": {"a": members}},
                    "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
                },
                "clients": {"users": {"site": "a"}},
            }
        )
        slow = load("indigo-iam").calibrated(
            Calibration.default().model_copy(update={"apply_cpu": Estimate(mean=0.05)}), found
        )
        workload = Workload.model_validate(
            {"flow": flow, "users": users, "think": 0.5, "duration": 12.0, "warmup": 0.0, "probes": []}
        )
        simulation = Simulation.of(compile_program(found, workload, (), slow, size="production"), 1)
        simulation.run_until(12.0)
        observation = simulation.observation()
        assert observation.audit.lost == 0
        written = observation.requests["request"].isin(["password", "revoke"])
        certain = (observation.requests["outcome"] == "ok") & written
        assert observation.audit.acknowledged == certain.sum()
        return observation.requests

    @pytest.mark.parametrize(
        ("flow", "cost"), [("introspect", 0.0157 + 0.001), ("userinfo", 0.0176 + 0.001), ("revoke", 0.0127)]
    )
    def test_one_member_answers_in_the_measured_time(self, flow: str, cost: float) -> None:
        """CPU of both and a millisecond; a token is never stale where it was issued."""
        requests = self.run(flow, 1, 1)
        mine = requests[requests["request"] == flow]
        assert set(mine["outcome"]) == {"ok"}
        assert mine["latency"].median() == pytest.approx(cost + 2 * 0.00025, rel=0.2)

    @pytest.mark.parametrize(("flow", "status"), [("introspect", 200), ("userinfo", 401), ("revoke", 200)])
    def test_a_member_that_lags_answers_as_the_service_does(self, flow: str, status: int) -> None:
        """Userinfo refuses an unknown token; introspection calls it inactive, revocation says OK."""
        requests = self.run(flow, 2, 2)
        stale = requests[requests["outcome"] == "stale"]
        assert len(stale) > 3
        assert set(stale["request"]) == {flow}
        assert set(stale["status"]) == {status}


class TestCausalReads:
    """`wsrep_sync_wait` waits at every transaction and autocommitted SELECT."""

    def test_reads_are_never_stale_and_pay_for_remote_commits(self) -> None:
        """Two members 30 ms apart, users at both: no 401, and slower answers."""
        seen: dict[int, pd.DataFrame] = {}
        for sync_wait in (0, 1):
            found = Topology.model_validate(
                {
                    "topology": "two-members",
                    "sites": {"a": {"nodes": 1, "cpu": 8}, "b": {"nodes": 1, "cpu": 8}},
                    "links": [{"between": ["a", "b"], "rtt": 0.03, "vpn": "none"}],
                    "services": {
                        "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
                        "db": {"kind": "galera", "members": {"a": 1, "b": 1}, "sync_wait": sync_wait},
                        "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
                    },
                    "clients": {"users": {"site": "a"}},
                }
            )
            slow = load("indigo-iam").calibrated(
                Calibration.default().model_copy(update={"apply_cpu": Estimate(mean=0.05)}), found
            )
            workload = Workload(flow="workflow", users=8, think=0.2, duration=15.0, warmup=0.0, probes=())
            simulation = Simulation.of(compile_program(found, workload, (), slow, size="production"), 1)
            simulation.run_until(15.0)
            seen[sync_wait] = simulation.observation().requests
        assert (seen[0]["outcome"] == "stale").sum() > 5
        assert (seen[1]["outcome"] == "stale").sum() == 0
        typical = [seen[n].loc[seen[n]["outcome"] == "ok", "latency"].median() for n in (0, 1)]
        assert typical[1] > typical[0]
