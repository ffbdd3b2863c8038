"""Settings that change what requests do in the database: isolation, and tokens that are not stored."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.metrics import reduce
from experiments.workload import Request, Workload
from sim import steps
from sim.calibration import Calibration
from sim.engine.reference import Simulation
from sim.profile import Profile, load
from sim.program import compile_program
from sim.replication import seed_of
from sim.steps import KINDS, StepTables, refusal
from topologies.errors import InputError
from topologies.model import IndigoIam, Topology

TOPOLOGY = Topology.model_validate(
    {
        "topology": "two",
        "sites": {"a": {"cpu": 8}, "b": {"cpu": 8}},
        "links": [{"between": ["a", "b"], "rtt": 0.03, "vpn": "none"}],
        "services": {
            "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
            "db": {"kind": "galera", "members": {"a": 1, "b": 1}},
            "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
        },
        "clients": {"users": {"site": "a"}},
    }
)
WORKLOAD = Workload.model_validate(
    {"flow": "workflow", "users": 60, "ramp": 100.0, "think": 0.1, "duration": 12.0, "warmup": 1.0}
    | {"probes": [], "timeout": 60.0}
)


def calibration(topology: Topology) -> Calibration:
    """The real service's."""
    return load("indigo-iam").calibrated(Calibration.default(), topology)


def tables(*overrides: str) -> StepTables:
    """Step tables with something changed."""
    topology = TOPOLOGY.with_(*overrides)
    return compile_program(topology, WORKLOAD, (), calibration(topology), size="production").steps


def column(found: StepTables, name: str, kind: Request) -> list[float]:
    """A column of one request."""
    place = KINDS.index(kind)
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = getattr(found, name)
    return values[found.first[place] : found.first[place + 1]].tolist()


def shares(*overrides: str) -> tuple[float, float]:
    """HTTP 500 by conflict and 401 by stale read in a workflow across two members."""
    topology = TOPOLOGY.with_(*overrides)
    program = compile_program(topology, WORKLOAD, (), calibration(topology), size="production")
    simulation = Simulation.of(program, seed_of(1, 0))
    simulation.run_until(WORKLOAD.duration)
    found = reduce(simulation.observation(), topology, WORKLOAD)
    conflicts = found["error_ratio{flow=workflow,kind=conflict}@whole"].value
    return conflicts, found["stale_reads{flow=workflow}@whole"].value


READ_COMMITTED = "services.db.isolation=read-committed"
UNSTORED = "services.iam.store_access_tokens=false"


class TestIsolation:
    """`READ COMMITTED` at the database."""

    def test_the_scan_locks_no_gap(self) -> None:
        """It reads as many rows as before."""
        before, after = tables(), tables(READ_COMMITTED)
        assert steps.LOCK_RANGE in before.kind and steps.LOCK_RANGE not in after.kind
        assert after.row_cpu.sum() == before.row_cpu.sum() > 0

    def test_conflicts_with_issuances_are_gone(self) -> None:
        """T1: with REPEATABLE READ an applied issuance aborts every refresh that has scanned."""
        conflicts, _ = shares()
        without, _ = shares(READ_COMMITTED)
        assert conflicts > 0.005
        assert without < conflicts / 2

    def test_an_unknown_level_is_refused(self) -> None:
        """The two that are modelled are named."""
        with pytest.raises(InputError, match="isolation"):
            TOPOLOGY.with_("services.db.isolation=serializable")


class TestUnstored:
    """Access tokens that are checked by their signature."""

    @pytest.mark.parametrize("kind", ["access-token", "refresh", "token-exchange"])
    def test_what_gives_no_refresh_token_writes_nothing(self, kind: Request) -> None:
        """No transaction; fewer statements by those that changed rows and those that asked for ids."""
        gone = {"access-token": 8 + 2, "refresh": 5 + 1, "token-exchange": 12 + 3}[kind]
        before = {"access-token": 92, "refresh": 153, "token-exchange": 154}[kind]
        found = tables(UNSTORED)
        assert steps.COMMIT not in column(found, "kind", kind)
        assert steps.CHECK_ACCESS not in column(found, "kind", kind)
        assert sum(column(found, "trips", kind)) == before - gone

    def test_a_password_grant_still_writes_its_refresh_token(self) -> None:
        """The access token and its four scopes are left out: 5 rows of 17, one id."""
        stored, found = tables("services.iam.clear_access_tokens_on_refresh=false"), tables(UNSTORED)
        assert steps.COMMIT in column(found, "kind", "password")
        assert sum(column(found, "trips", "password")) == sum(column(stored, "trips", "password")) - 6
        assert sum(column(found, "rows", "password")) == 0
        assert sum(column(found, "db_cpu", "password")) < sum(column(stored, "db_cpu", "password"))
        assert sum(column(found, "app_cpu", "password")) < sum(column(stored, "app_cpu", "password"))

    def test_a_rotating_refresh_still_writes(self) -> None:
        """Its new refresh token."""
        assert steps.COMMIT in column(
            tables(UNSTORED, "services.iam.reuse_refresh_token=false"), "kind", "refresh"
        )

    def test_neither_conflicts_nor_stale_access_tokens(self) -> None:
        """What is left is the refresh token, which the next member may not have yet."""
        conflicts, stale = shares()
        fewer, left = shares(UNSTORED)
        assert fewer < conflicts / 2
        assert 0 < left < stale

    def test_what_cannot_be_told_is_refused(self) -> None:
        """Revoking was not measured; a profile may not say which statements change rows."""
        iam = TOPOLOGY.with_(UNSTORED).services["iam"]
        assert isinstance(iam, IndigoIam)
        assert "not measured" in refusal(Workload(flow="revoke"), calibration(TOPOLOGY), iam)
        assert refusal(Workload(flow="workflow"), calibration(TOPOLOGY), iam) == ""
        silent = load("indigo-iam").model_dump(mode="json")
        for step in silent["requests"]["access-token"]["steps"]:
            step.pop("dml", None)
        profile = Profile.model_validate(silent)
        assert "change rows" in refusal(
            Workload(flow="access-token"), profile.calibrated(Calibration.default()), iam
        )
