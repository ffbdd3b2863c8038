"""The simulated lab keeps the lab interface over anything that keeps the simulator protocol."""

from __future__ import annotations

import pytest
from fake_simulator import FakeSimulator

from chaos.errors import InjectionError, LabError
from chaos.lab.simulated import SimulatedLab
from experiments.faults import Kill, Partition
from experiments.targets import components
from experiments.workload import ProbeStream, Workload
from topologies.loader import load

TOPOLOGY = load("iris-3site-galera", size="lab")
WORKLOAD = Workload(duration=30.0, warmup=5.0, probes=(ProbeStream(rate=10.0),))


@pytest.fixture
def lab() -> SimulatedLab:
    """A simulated lab under load."""
    lab = SimulatedLab(FakeSimulator())
    lab.up(TOPOLOGY)
    lab.start_load(WORKLOAD, seed=1)
    return lab


def test_before_the_load_all_components_are_up_and_time_stands_still() -> None:
    """Nothing can have failed yet, and sleeping does not move the clock before its zero."""
    lab = SimulatedLab(FakeSimulator())
    lab.up(TOPOLOGY)
    lab.clock.sleep(10.0)
    assert lab.clock.now() == 0.0
    assert {s.component: s.state for s in lab.status()} == dict.fromkeys(components(TOPOLOGY), "up")


def test_sleeping_to_a_moment_arrives_exactly_there(lab: SimulatedLab) -> None:
    """Sums of floats do not leave the clock a hair before the moment."""
    for _ in range(7):
        lab.clock.sleep(0.1)
    lab.clock.sleep(5.3 - lab.clock.now())
    assert lab.clock.now() == 5.3


def test_samples_are_those_that_ended_since(lab: SimulatedLab) -> None:
    """Only requests that ended within the time asked for are shown."""
    lab.clock.sleep(10.0)
    samples = lab.samples(since=9.0)
    ended = samples["start"] + samples["latency"]
    assert len(samples) > 0 and ended.min() >= 9.0 and ended.max() <= 10.0


def test_a_missing_target_is_an_injection_error(lab: SimulatedLab) -> None:
    """The simulator's ValueError becomes the lab's error, with its reason."""
    with pytest.raises(InjectionError, match="no component db@nowhere"):
        lab.inject(Kill(target="db@nowhere"))


def test_undo_is_harmless_the_second_time(lab: SimulatedLab) -> None:
    """A fault that is gone can be taken back again."""
    injected = lab.inject(Partition(isolate=["edi"]))
    lab.clock.sleep(2.0)
    lab.undo(injected)
    lab.undo(injected)
    assert lab.observe().windows == ((0.0, 2.0),)


def test_without_load_the_error_says_what_to_call() -> None:
    """Injecting or observing needs the load, and starting the load needs the lab up."""
    lab = SimulatedLab(FakeSimulator())
    with pytest.raises(LabError, match="call up"):
        lab.start_load(WORKLOAD, seed=1)
    lab.up(TOPOLOGY)
    with pytest.raises(LabError, match="call start_load"):
        lab.inject(Kill(target="db@edi"))
    with pytest.raises(LabError, match="call start_load"):
        lab.observe()


def test_down_twice_is_harmless_and_the_facts_admit_that_nothing_was_measured(lab: SimulatedLab) -> None:
    """A simulated run never passes for a measured one."""
    assert lab.facts().facts["measured"] is False
    lab.down()
    lab.down()
    assert lab.status() == []
