"""What every lab backend must do, whatever it is made of: the same tests for each.

One lab per backend lives through the whole module, as an experiment would use it: up, load,
faults one after the other, the end of the load, observation, down. The tests run in file order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

import numpy as np
import pandas as pd
import pytest

from chaos.errors import InjectionError
from chaos.lab.base import Lab
from experiments.faults import Degrade, Kill, Partition, Pause
from experiments.kubernetes_faults import NetworkIsolation
from experiments.observation import OUTCOMES, REQUEST_COLUMNS, Observation
from experiments.targets import components
from experiments.workload import ProbeStream, Workload
from topologies.loader import load
from topologies.model import Topology

WORKLOAD = Workload(
    flow="access-token",
    users=6,
    ramp=6.0,
    think=1.0,
    duration=180.0,
    warmup=5.0,
    timeout=10.0,
    probes=(ProbeStream(flow="health", rate=10.0, timeout=2.0),),
)
SETTLE = 40.0
"""Longest wait, in seconds, for a component to notice a fault or to come back."""


TOPOLOGIES = {
    "simulated": "iris-3site-galera",
    "local": "iris-3site-galera",
    "kind": "iris-2site-galera",  # two clusters fit into the time that the suite may take
}
ENFORCING = ("kind",)
"""Backends whose sites are clusters with a network that enforces policies."""

BACKENDS = [
    "simulated",
    pytest.param("local", marks=pytest.mark.lab),
    pytest.param("kind", marks=pytest.mark.kind),
]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name of the backend under test."""
    return str(request.param)


@pytest.fixture(scope="module")
def topology(backend: str) -> Topology:
    """What runs there: sites that have everything, the last of them the one to break."""
    return load(TOPOLOGIES[backend], size="lab")


@pytest.fixture(scope="module")
def last(topology: Topology) -> str:
    """The site that things happen to."""
    return list(topology.sites)[-1]


@pytest.fixture(scope="module")
def first(topology: Topology) -> str:
    """A site that things do not happen to."""
    return next(iter(topology.sites))


@pytest.fixture(scope="module")
def lab(backend: str, topology: Topology) -> Iterator[Lab]:
    """A lab, up and under a light load."""
    (entry,) = entry_points(group="faultline.labs", name=backend)
    lab: Lab = entry.load()()
    try:
        lab.up(topology)
        yield lab
    finally:
        lab.down()


def state(lab: Lab, component: str) -> str:
    """State of one component."""
    return {status.component: status.state for status in lab.status()}[component]


def eventually(lab: Lab, holds: Callable[[], bool], what: str) -> None:
    """Let time pass until something holds."""
    deadline = lab.clock.now() + SETTLE
    while not holds():
        assert lab.clock.now() < deadline, f"after {SETTLE:g} s still not: {what}"
        lab.clock.sleep(0.5)


def share_ok(samples: pd.DataFrame, site: str) -> float:
    """Share of successful probes at a site."""
    at_site = samples[(samples["site"] == site) & (samples["source"] == "probe")]
    return float((at_site["outcome"] == "ok").mean()) if len(at_site) else float("nan")


def kinds(lab: Lab, component: str, since: float) -> set[str]:
    """Kinds of the events of one component since a time."""
    return {event.kind for event in lab.events() if event.component == component and event.at >= since}


def test_everything_is_up_after_up(lab: Lab, topology: Topology) -> None:
    """`up` returns when every component of the topology says so itself."""
    states = {status.component: status.state for status in lab.status()}
    # A backend may know of more: what no fault can name, such as sentinels.
    assert set(states) >= set(components(topology))
    assert set(states.values()) == {"up"}


def test_every_front_end_has_an_endpoint(lab: Lab, topology: Topology) -> None:
    """Each site's front end can be found."""
    assert {f"frontend@{site}" for site in topology.sites} <= {
        endpoint.component for endpoint in lab.endpoints()
    }


def test_facts_say_what_the_lab_is_made_of(lab: Lab, backend: str) -> None:
    """The run record can name the backend and its parts."""
    facts = lab.facts()
    assert facts.backend == backend
    assert facts.facts


def test_the_clock_starts_with_the_load(lab: Lab) -> None:
    """Time is at or before zero until the load starts, then passes while one sleeps."""
    assert lab.clock.now() <= 0
    lab.start_load(WORKLOAD, seed=3)
    lab.clock.sleep(max(0.0, 8.0 - lab.clock.now()))
    assert lab.clock.now() == pytest.approx(8.0, abs=0.5)


def test_the_service_answers_at_every_site(lab: Lab, topology: Topology) -> None:
    """Without a fault, users and probes next to every site succeed."""
    samples = lab.samples(since=4.0)
    for site in topology.sites:
        assert share_ok(samples, site) > 0.98, site
    load_samples = samples[samples["source"] == "load"]
    assert len(load_samples) > 5
    assert (load_samples["outcome"] == "ok").mean() > 0.9


@pytest.mark.parametrize("target", ["db@nowhere", "nothing@{last}", "db@{last}/7"])
def test_a_missing_target_is_refused(lab: Lab, last: str, target: str) -> None:
    """A fault on something that does not exist is an error that names it, and changes nothing."""
    before = lab.status()
    target = target.format(last=last)
    with pytest.raises(InjectionError, match=target):
        lab.inject(Kill(target=target))
    assert lab.status() == before


def test_a_paused_component_is_paused_and_comes_back(lab: Lab, last: str) -> None:
    """A pause shows in the status, is noticed by the health check, and ends with its undo."""
    since = lab.clock.now()
    paused, watcher = f"iam@{last}", f"frontend@{last}"
    injected = lab.inject(Pause(target=paused))
    assert state(lab, paused) == "paused"
    eventually(lab, lambda: "haproxy.server-down" in kinds(lab, watcher, since), "server marked down")
    lab.undo(injected)
    assert state(lab, paused) != "paused"
    eventually(lab, lambda: "haproxy.server-up" in kinds(lab, watcher, since), "server marked up")
    eventually(lab, lambda: state(lab, paused) == "up", f"{paused} up")


def test_an_isolated_member_loses_the_quorum_and_rejoins(
    lab: Lab, topology: Topology, first: str, last: str
) -> None:
    """A member cut off by the VPN turns non-primary and a majority goes on; healed, it comes back.

    Of two members neither is a majority: both stop, and both come back.
    """
    since = lab.clock.now()
    alone, other = f"db@{last}", f"db@{first}"
    majority = 2 * (len(topology.sites) - 1) > len(topology.sites)
    injected = lab.inject(Partition(isolate=[last]))
    eventually(lab, lambda: "galera.non-primary" in kinds(lab, alone, since), f"{alone} non-primary")
    if majority:
        assert "galera.non-primary" not in kinds(lab, other, since)
        assert state(lab, other) == "up"
        # Users elsewhere are served again once the name service has dropped the cut-off front end.
        served = lambda: share_ok(lab.samples(since=lab.clock.now() - 3.0), first) > 0.98  # noqa: E731
        eventually(lab, served, f"{first} served")
    else:
        eventually(lab, lambda: "galera.non-primary" in kinds(lab, other, since), f"{other} non-primary")
        assert state(lab, other) == "down"
    assert state(lab, alone) == "down"
    lab.undo(injected)
    eventually(lab, lambda: "galera.primary" in kinds(lab, alone, since), f"{alone} primary again")
    for member in (alone, other):
        eventually(lab, lambda member=member: state(lab, member) == "up", f"{member} up")  # type: ignore[misc]
    for site in topology.sites:
        back = lambda site=site: share_ok(lab.samples(since=lab.clock.now() - 3.0), site) > 0.98  # noqa: E731
        eventually(lab, back, f"{site} served")


def test_a_killed_component_is_down_until_it_is_started_again(lab: Lab, last: str) -> None:
    """A kill shows in the status, lasts, and its undo starts the component again."""
    killed = f"cache@{last}"
    injected = lab.inject(Kill(target=killed))
    assert state(lab, killed) == "down"
    lab.clock.sleep(3.0)
    assert state(lab, killed) == "down"
    lab.undo(injected)
    eventually(lab, lambda: state(lab, killed) == "up", f"{killed} up")


def test_an_isolated_component_is_cut_off_or_the_fault_is_refused(lab: Lab, backend: str, last: str) -> None:
    """A NetworkPolicy cuts off what it selects; where nobody would enforce it, the fault is an error."""
    fault = NetworkIsolation(target=f"iam@{last}")
    if backend not in ENFORCING:
        with pytest.raises(InjectionError):
            lab.inject(fault)
        return
    since, watcher = lab.clock.now(), f"frontend@{last}"
    injected = lab.inject(fault)
    eventually(lab, lambda: "haproxy.server-down" in kinds(lab, watcher, since), "server marked down")
    lab.undo(injected)
    eventually(lab, lambda: "haproxy.server-up" in kinds(lab, watcher, since), "server marked up")
    eventually(lab, lambda: state(lab, f"iam@{last}") == "up", "identity service up")


def test_a_slow_link_slows_commits_and_recovers(lab: Lab, first: str, last: str) -> None:
    """Writes wait for the slowest pair of members, so one slow link raises latency everywhere."""
    lab.clock.sleep(6.0)
    before = latency(lab, 5.0)
    injected = lab.inject(Degrade(between=(first, last), rtt=0.3))
    lab.clock.sleep(8.0)
    during = latency(lab, 5.0)
    lab.undo(injected)
    lab.clock.sleep(8.0)
    after = latency(lab, 5.0)
    assert during > before + 0.1
    assert after < during - 0.1


def latency(lab: Lab, window: float) -> float:
    """Median latency of the load's successful requests over the last seconds."""
    samples = lab.samples(since=lab.clock.now() - window)
    good = samples[(samples["source"] == "load") & (samples["outcome"] == "ok")]
    assert len(good) > 5
    return float(good["latency"].median())


def test_undo_twice_is_harmless(lab: Lab, first: str) -> None:
    """The second undo of a fault changes nothing."""
    paused = f"web@{first}"
    injected = lab.inject(Pause(target=paused))
    lab.undo(injected)
    before = state(lab, paused)
    lab.undo(injected)
    assert state(lab, paused) == before == "up"


def test_the_observation_is_complete(lab: Lab, topology: Topology, backend: str) -> None:
    """At the end everything is there, in the shared shape, ordered, with every fault's window."""
    lab.stop_load()
    observation: Observation = lab.observe()
    requests = observation.requests
    assert list(requests.columns[: len(REQUEST_COLUMNS)]) == list(REQUEST_COLUMNS)
    assert requests["start"].is_monotonic_increasing
    assert requests["start"].between(0.0, WORKLOAD.duration).all()
    assert (requests["latency"] >= 0).all()
    assert set(requests["outcome"]) <= set(OUTCOMES)
    assert set(requests["site"]) == set(topology.sites)
    times = np.array([event.at for event in observation.events])
    assert (np.diff(times) >= 0).all()
    injected = [event for event in observation.events if event.kind == "fault.inject"]
    undone = [event for event in observation.events if event.kind == "fault.undo"]
    assert len(injected) == len(undone) == len(observation.windows) == 5 + (backend in ENFORCING)
    assert all(start <= end for start, end in observation.windows)


def test_acknowledged_writes_are_audited(lab: Lab) -> None:
    """The audit knows how many writes were acknowledged, and in these faults none is lost."""
    audit = lab.observe().audit
    assert audit.acknowledged > 20
    assert audit.lost == 0


def test_down_is_complete_and_can_be_repeated(lab: Lab) -> None:
    """After `down` nothing has a state any more, and another `down` is harmless."""
    lab.down()
    lab.down()
    assert lab.status() == []
