"""Sites on one host: their own network, the same cores."""

from __future__ import annotations

import pytest

from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.choice import ENGINES, simulation_of
from sim.engine.reference import Simulation
from sim.profile import load
from sim.program import compile_program
from topologies.model import Topology


def topology(host: str | None, rtt: float = 0.01, members: dict[str, int] | None = None) -> Topology:
    """Two sites of two cores, on one host or each on its own."""
    site = {"nodes": 1, "cpu": 2, "host": host}
    members = members or {"a": 1, "b": 1}
    return Topology.model_validate(
        {
            "topology": "two-sites",
            "sites": {"a": site, "b": site},
            "links": [{"between": ["a", "b"], "rtt": rtt, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
                "db": {"kind": "galera", "members": members},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam", "reach": "all"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def simulate(found: Topology, users: int, seconds: float = 10.0) -> Simulation:
    """Client tokens without think time, no proxy cost, no delay beyond the links'."""
    nothing = Estimate(mean=0.0)
    base = Calibration.default().model_copy(
        update={"proxy_cpu": nothing, "vpn_delay": nothing, "public_delay": nothing}
    )
    workload = Workload.model_validate(
        {"flow": "access-token", "users": users, "ramp": 100.0, "think": 0.0, "duration": seconds}
        | {"warmup": 1.0, "probes": []}
    )
    program = compile_program(
        found, workload, (), load("indigo-iam").calibrated(base, found), size="production"
    )
    simulation = Simulation.of(program, 1)
    simulation.run_until(seconds)
    return simulation


def test_one_host_is_one_station_in_production_size_only() -> None:
    """In the lab every site has a quota of its own."""
    found = topology("box")
    sizes = {
        size: compile_program(found, Workload(), size=size).arrays["cpu_cores"].tolist()
        for size in ("production", "lab")
    }
    assert sizes["production"] == [2.0]
    assert len(sizes["lab"]) == 2


def test_sites_of_one_host_compete_for_its_cores() -> None:
    """Sixteen clients: two machines issue nearly twice as much as one that carries both sites."""
    shared, apart = (len(simulate(topology(host), 16).observation().requests) for host in ("box", None))
    assert apart > 1.6 * shared
    # Two cores, and 13.1 ms for a token beside what the other member applies.
    assert shared / 10.0 < 2 / 0.0131


def test_the_database_of_another_site_is_a_round_trip_away_on_the_same_host() -> None:
    """Sharing cores does not shorten the way."""
    found = topology("box", rtt=0.02, members={"b": 1})
    requests = simulate(found, 1).observation().requests
    far = requests["latency"].max()
    assert far == pytest.approx(92 * 0.02 + 0.0141, rel=0.05)
    assert requests["latency"].min() < 0.1


@pytest.mark.parametrize("flow", ["workflow", "userinfo", "revoke"])
@pytest.mark.parametrize("members", [{"b": 1}, {"a": 1, "b": 1}], ids=["database away", "two members"])
def test_both_engines_agree_on_a_shared_host(flow: str, members: dict[str, int]) -> None:
    """The real service's requests, sites of one host: the same to the last bit."""
    found = topology("box", 0.005, members)
    workload = Workload.model_validate(
        {"flow": flow, "users": 6, "think": 0.1, "duration": 6.0, "warmup": 0.0, "probes": []}
    )
    calibration = load("indigo-iam").calibrated(Calibration.default(), found)
    program = compile_program(found, workload, (), calibration, size="production")
    runs = []
    for engine in ENGINES:
        simulation = simulation_of(program, 1, engine)
        simulation.run_until(6.0)
        runs.append(simulation.observation().requests)
    assert len(runs[0]) > 20
    assert runs[0].equals(runs[1])
