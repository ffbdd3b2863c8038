"""What another member's write sets cost and do here."""

from __future__ import annotations

import pytest

from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.profile import Profile, load
from sim.program import Program, compile_program
from sim.steps import COMMIT, KINDS
from topologies.model import Topology

MEASURED = {"access-token": 0.964, "refresh": 0.987, "token-exchange": 1.031, "password": 1.080}
"""CPU of another member per write set, milliseconds: means of 90 in the lab, see `lab-iam.yaml`."""


def two_members() -> Topology:
    """A service at one of two sites, a database member at each."""
    return Topology.model_validate(
        {
            "topology": "two-members",
            "sites": {"a": {"nodes": 1, "cpu": 4}, "b": {"nodes": 1, "cpu": 4}},
            "links": [{"between": ["a", "b"], "rtt": 0.01, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1}, "database": "db"},
                "db": {"kind": "galera", "members": {"a": 1, "b": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def program(flow: str, calibration: Calibration) -> Program:
    """Ten users ask once."""
    asked = Workload.model_validate(
        {"flow": flow, "users": 10, "ramp": 2.0, "think": 1e5, "duration": 12.0, "warmup": 0.0, "probes": []}
    )
    return compile_program(two_members(), asked, (), calibration, size="production")


def factors(calibration: Calibration) -> dict[str, float]:
    """What applying costs, by request, relative to an access-token request."""
    steps = program("access-token", calibration).steps
    found: dict[str, float] = {}
    for number, kind in enumerate(KINDS):
        rows = slice(steps.first[number], steps.first[number + 1])
        committing = steps.kind[rows] == COMMIT
        if committing.any():
            found[kind] = float(steps.apply_factor[rows][committing][0])
    return found


class TestApplyCost:
    """Applying costs by the rows of the write set."""

    def test_is_what_was_measured_for_each_request(self) -> None:
        """One line through four kinds of write set: within a percent of each."""
        found = factors(Calibration.default())
        for kind, seconds in MEASURED.items():
            assert found[kind] == pytest.approx(seconds / MEASURED["access-token"], rel=0.012), kind

    def test_the_calibrated_write_set_is_the_unit(self) -> None:
        """What a machine's calibration measures is the write set of an access-token request."""
        for name in ("lab-iam", "indigo-iam"):
            found = factors(load(name).calibrated(Calibration.default(), two_members()))
            assert found["access-token"] == 1.0
            assert found["password"] > found["token-exchange"] > 1.0

    def test_rows_are_asked_for_where_they_count(self) -> None:
        """A profile that weighs rows and does not say how many there are is refused."""
        text = load("lab-iam").model_dump(mode="json")
        commit = next(step for step in text["requests"]["access-token"]["steps"] if step["do"] == "commit")
        commit["rows"] = 0
        with pytest.raises(ValueError, match="rows"):
            Profile.model_validate(text)
        text["apply_weights"] = None
        assert Profile.model_validate(text).apply_weights is None

    def test_the_other_member_pays_it(self) -> None:
        """Ten password requests at one member: the other's CPU is what their write sets cost."""
        calibration = Calibration.default().model_copy(update={"apply_cpu": Estimate(mean=0.01)})
        simulation = Simulation.of(program("refresh", calibration), 1)
        simulation.run_until(12.0)
        member = simulation._running.databases["db"].members[1]
        written = simulation.observation().requests
        counts = written[written["outcome"] == "ok"]["request"].value_counts()
        expected = sum(0.01 * factors(calibration)[kind] * counts[kind] for kind in ("password", "refresh"))
        assert counts["password"] == 10
        assert member.cpu.busy == pytest.approx(expected, rel=1e-6)
