"""Sensitivity: the parameters that must matter do, by the amount they must."""

from __future__ import annotations

import pytest

from experiments.workload import Workload
from sim.calibration import Calibration
from sim.explain import CHANCE, Explanation, certain, explain, moved, parameters
from sim.predict import Scenario
from sim.profile import load
from topologies.model import Topology

LATENCY = "latency_p50{flow=access-token}@whole"


def scenario(users: int = 1) -> Scenario:
    """The service at one site, its database 10 ms away."""
    topology = Topology.model_validate(
        {
            "topology": "database-away",
            "sites": {"a": {"nodes": 1, "cpu": 2}, "b": {"nodes": 1, "cpu": 2}},
            "links": [{"between": ["a", "b"], "rtt": 0.01, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1}, "database": "db"},
                "db": {"kind": "galera", "members": {"b": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )
    workload = Workload(flow="access-token", users=users, think=0.0, duration=12.0, warmup=1.0, probes=())
    return Scenario(topology, workload, size="production")


def demands(case: Scenario) -> Calibration:
    """Those of the real service."""
    return load("indigo-iam").calibrated(Calibration.default(), case.topology)


@pytest.fixture(scope="module")
def explained() -> Explanation:
    """One client that waits for round trips."""
    case = scenario()
    return explain(case, demands(case), 1, metrics=[LATENCY], sobol=2, top=1, workers=1)


class TestOneAtATime:
    """Differences between the ends of a parameter."""

    def test_round_trips_dominate_a_remote_database(self, explained: Explanation) -> None:
        """A tenth of 10 ms up and down, times 92 statements: 184 ms between the ends."""
        first = explained.effects[LATENCY][0]
        assert first.parameter == "rtt a-b"
        assert first.difference == pytest.approx(92 * 0.002, rel=0.03)
        assert first.interval[0] <= first.difference <= first.interval[1]
        assert first.low < first.base < first.high

    def test_cpu_moves_the_response_by_itself(self, explained: Explanation) -> None:
        """One client: the ends of the service's CPU show up in the response of the median request."""
        rows = {effect.parameter: effect for effect in explained.effects[LATENCY]}
        cpu = next(p for p in explained.parameters if p.name == "access-token app cpu")
        assert rows[cpu.name].difference == pytest.approx(cpu.high - cpu.low, rel=0.25)
        assert rows[cpu.name].kind == "calibrated"

    def test_shares_are_those_of_what_is_uncertain(self, explained: Explanation) -> None:
        """Chance and calibrated parameters share the spread; a configured one has no part in it."""
        effects = explained.effects[LATENCY]
        assert sum(effect.share for effect in effects) == pytest.approx(1)
        assert all(effect.share == 0 for effect in effects if effect.kind == "configured")
        assert CHANCE in {effect.parameter for effect in effects}

    def test_the_same_again_is_the_same(self, explained: Explanation) -> None:
        """A pure function of its arguments."""
        case = scenario()
        again = explain(case, demands(case), 1, metrics=[LATENCY], workers=1)
        assert again.effects == explained.effects

    def test_wrong_metrics_and_single_runs_are_refused(self) -> None:
        """No interval from one run; a metric is a metric."""
        case = scenario()
        with pytest.raises(ValueError, match="two replications"):
            explain(case, demands(case), replications=1)
        with pytest.raises(ValueError, match="metric"):
            explain(case, demands(case), metrics=["speed"])


class TestSobol:
    """Variance shared out."""

    def test_indices_have_intervals_and_name_chance(self, explained: Explanation) -> None:
        """Chosen parameters and chance, each with first and total index and a half width."""
        indices = explained.sobol[LATENCY]
        assert len(indices) == 2
        assert CHANCE in {index.parameter for index in indices}
        assert {index.parameter for index in indices} <= {CHANCE, *(p.name for p in explained.parameters)}
        assert all(index.total_half >= 0 for index in indices)

    def test_the_runs_are_counted(self, explained: Explanation) -> None:
        """(1 + 2 parameters) points of two runs, and N (D + 2) of the design with chance among the D."""
        assert explained.runs == 2 * (1 + 2 * len(explained.parameters)) + 2 * (1 + 3)


class TestParameters:
    """What is moved, and how."""

    def test_only_what_the_scenario_uses(self) -> None:
        """No password in a flow without one, no start time without a kill."""
        case = scenario(users=10)
        names = {parameter.name for parameter in parameters(case, demands(case))}
        assert "access-token app cpu" in names
        assert "users" in names
        assert not any(name.startswith(("password", "start")) for name in names)

    def test_moving_changes_one_thing_and_takes_uncertainty_away(self) -> None:
        """The parameter has the value; every standard error is 0; all else is as it was."""
        case = scenario()
        calibration = demands(case)
        parameter = next(p for p in parameters(case, calibration) if p.name == "access-token db cpu")
        changed, found = moved(case, calibration, {parameter: parameter.high})
        assert changed == case
        assert found.requests["access-token"].db_cpu.mean == parameter.high
        assert found.requests["access-token"].db_cpu.sem == 0
        assert found.proxy_cpu.mean == calibration.proxy_cpu.mean
        assert found.profile == calibration.profile
        assert certain(calibration).requests["access-token"].app_cpu.sem == 0

    def test_shares_of_a_calibrated_parameter_are_its_quantiles(self) -> None:
        """The middle is near the mean, the 5 % point is the low end."""
        case = scenario()
        parameter = next(p for p in parameters(case, demands(case)) if p.sem)
        assert parameter.at(0.05) == pytest.approx(parameter.low, rel=1e-3)
        assert parameter.at(0.95) == pytest.approx(parameter.high, rel=1e-3)
