"""What a run keeps: nothing that grows with the time simulated, unless its requests are asked for."""

from __future__ import annotations

from experiments.workload import Workload
from sim.calibration import Calibration
from sim.engine.compiled.simulation import Counting, Simulation
from sim.program import Program, compile_program
from topologies.loader import load


def program(seconds: float) -> Program:
    """Twenty users for so long."""
    workload = Workload(users=20, think=0.5, duration=seconds, warmup=1.0)
    topology = load("iris-3site-galera", size="production")
    return compile_program(topology, workload, (), Calibration.default(), size="production")


def test_a_run_of_which_no_request_is_kept_needs_no_more_for_more_time() -> None:
    """Records are used again once the history of write sets is full: more time, no more memory."""
    used = []
    for seconds in (600.0, 2400.0):
        simulation = Counting.of(program(seconds), 1)
        simulation.run_until(seconds)
        assert len(simulation.observation().table) == 0
        used.append(simulation.words)
    assert used[1] <= 1.1 * used[0]


def test_requests_are_kept_in_columns() -> None:
    """Thirty bytes each, whatever the names are."""
    simulation = Simulation.of(program(40.0), 1)
    simulation.run_until(40.0)
    samples = simulation.observation().table
    assert len(samples) > 500
    columns = [samples.start, samples.latency, samples.status, *samples.codes.values()]
    assert sum(column.nbytes for column in columns) == 30 * len(samples)  # type: ignore[attr-defined]
