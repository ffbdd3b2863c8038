"""Connections over links that lose packets, go dead and come back."""

from __future__ import annotations

import pytest
import simpy

from experiments.workload import Workload
from sim.engine.network import Network
from sim.program import PUBLIC, Program, compile_program
from sim.random import Streams
from topologies.model import Topology

RTT = 0.1


def linked(loss: float = 0.0) -> Program:
    """Two sites with a front end each."""
    names = ["ral", "cam"]
    everywhere = dict.fromkeys(names, 1)
    topology = Topology.model_validate(
        {
            "topology": "two",
            "sites": {name: {"nodes": 1, "cpu": 4} for name in names},
            "links": [{"between": names, "rtt": RTT, "loss": loss}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": everywhere, "database": "db"},
                "db": {"kind": "galera", "members": everywhere},
                "frontend": {"kind": "haproxy", "sites": names, "backend": "iam", "reach": "local"},
            },
            "clients": {"users": {"site": "ral"}},
        }
    )
    return compile_program(topology, Workload(users=1, duration=20.0), ())


def connected(network: Network, timeout: float, until: float = 60.0) -> tuple[float, bool]:
    """When a connect begun now is over, and whether it succeeded."""
    found: list[tuple[float, bool]] = []

    def ask() -> object:
        got = yield from network.connect(PUBLIC, 0, 1, timeout)
        found.append((network.env.now, got))

    network.env.process(ask())  # type: ignore[arg-type]
    network.env.run(until=until)
    return found[0]


def flapping(*times: float) -> Network:
    """A link that goes dead at the first time, comes back at the second, and so on."""
    program = linked()
    env = simpy.Environment()
    network = Network(env, program, Streams(1))

    def flap() -> object:
        for number, at in enumerate(times):
            yield env.timeout(at - env.now)
            (network.repair if number % 2 else network.cut)(PUBLIC, 0, 1)
            network.apply()

    env.process(flap())  # type: ignore[arg-type]
    env.run(until=1e-9)
    return network


class TestDeadLink:
    """A connect into a dead link: SYNs at 0, 1, 3, 7, 15, 31 and 63 s, or sooner (Linux 6.5)."""

    @pytest.mark.parametrize(
        ("repairs", "expected"),
        [
            ((0.0, 2.5), (3.1, True)),
            ((0.0, 2.5, 2.8, 5.0), (7.1, True)),
            ((0.0, 2.5, 2.8, 5.0, 6.0), (20.0, False)),
        ],
    )
    def test_a_syn_must_meet_the_link_alive(
        self, repairs: tuple[float, ...], expected: tuple[float, bool]
    ) -> None:
        """A repair between two SYNs is of no use if the link is dead again when the next is sent."""
        network = flapping(*repairs)
        network._syn_linear = 0
        at, got = connected(network, 20.0)
        assert (pytest.approx(at, abs=1e-3), got) == expected


class TestLoss:
    """A lossy link."""

    def test_a_lost_syn_waits_a_second(self) -> None:
        """The kernel knows no round trip yet: not RTT + 200 ms, which data waits."""
        program = linked(loss=0.3)
        times = []
        for seed in range(40):
            network = Network(simpy.Environment(), program, Streams(seed))
            times.append(connected(network, 20.0)[0] - RTT)
        lost = [extra for extra in times if extra > 0.01]
        assert len(lost) > 5
        assert all(extra == pytest.approx(round(extra), abs=0.01) for extra in lost)
