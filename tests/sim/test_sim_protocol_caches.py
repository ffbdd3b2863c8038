"""What work costs more with cold caches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.choice import simulation_of
from sim.program import compile_program
from sim.protocols.caches import CROWDED, FRESH, TIME, refill
from sim.refill import Refill
from topologies import loader as topologies
from topologies.model import Topology

seconds = st.floats(0, 10)


@given(idle=seconds, others=st.integers(0, 200), demand=seconds, most=seconds)
def test_a_refill_is_bounded(idle: float, others: int, demand: float, most: float) -> None:
    """It is never negative, and never doubles the work."""
    assert 0.0 <= refill(idle, others, demand, most) <= demand


@given(
    demand=st.floats(0.001, 1), most=st.floats(0.0001, 1), pauses=st.lists(seconds, min_size=2, max_size=2)
)
def test_longer_pauses_never_cost_less(demand: float, most: float, pauses: list[float]) -> None:
    """More of the caches is gone."""
    short, long = sorted(pauses)
    assert refill(short, 0, demand, most) <= refill(long, 0, demand, most)


def test_after_a_long_pause_all_of_it_is_paid() -> None:
    """A long job pays what was measured after a long pause, however long it is."""
    assert refill(1.0, 0, 0.05, 0.0015) == pytest.approx(0.0015)
    assert refill(FRESH + TIME, 0, 0.05, 0.0015) == pytest.approx(0.0015 * 0.632, rel=0.001)


def test_who_runs_all_the_time_pays_nothing() -> None:
    """Demands are measured a few milliseconds apart: that is included in them."""
    assert refill(FRESH, 0, 0.05, 0.0015) == 0.0
    assert refill(-1.0, 0, 0.05, 0.0015) == 0.0


def test_a_crowd_takes_turns() -> None:
    """Statements of many users push one another out, in proportion to the work."""
    assert refill(0.0, 1, 0.01, 0.0015) < refill(0.0, 8, 0.01, 0.0015) < refill(0.0, 40, 0.01, 0.0015)
    assert refill(0.0, 200, 0.01, 0.0015) == pytest.approx(0.01 * CROWDED)


def test_a_profile_without_caches_pays_nothing() -> None:
    """Demands that were measured under load include all of it."""
    assert refill(5.0, 50, 0.05, 0.0) == 0.0


@pytest.mark.parametrize(("think", "extra"), [(1.0, 0.0015), (0.0, 0.0)])
def test_a_user_who_pauses_meets_cold_caches(think: float, extra: float) -> None:
    """One user of one site: requests after a pause take the refill of service and database longer."""
    topology = topologies.load("iris-1site", size="lab", overrides=["sites.ral.cpu=1"])
    asked = Workload(flow="access-token", users=1, think=think, duration=40.0, warmup=1.0, probes=())
    plain = Calibration.default()
    cold = plain.model_copy(update={"refill": Refill(app=Estimate(mean=0.0007), db=Estimate(mean=0.0008))})
    means = [float(_latency(topology, asked, calibration)) for calibration in (plain, cold)]
    assert means[1] - means[0] == pytest.approx(extra, abs=0.0002)


def _latency(topology: Topology, asked: Workload, calibration: Calibration) -> float:
    simulation = simulation_of(compile_program(topology, asked, (), calibration), 1)
    simulation.run_until(40.0)
    requests = simulation.observation().requests
    return float(requests["latency"].mean())
