"""The profile `indigo-iam` against what was measured of the real service.

`python -m benchmarks.indigo_profile` simulates INDIGO IAM on one machine with one client, with 1 to 16
clients, with its database ever farther away, and on two Galera members, and prints every figure
that was measured (facts/iam.md 1.1, 1.2, 2.1) beside its prediction with the signed error. Rows without a
measurement are there to be compared with one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from experiments.metrics import reduce
from experiments.workload import Workload
from sim import steps
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.profile import load
from sim.program import compile_program
from sim.replication import seed_of
from topologies.model import Topology

PROFILE = "indigo-iam"

WALL = {"access-token": 14.1, "password": 93.8, "refresh": 27.9, "token-exchange": 19.6}
"""Milliseconds: CPU of the service and of the database plus about one (facts/iam.md 1.2)."""

WRITE_ALONE = {"access-token": 9.0, "password": 15.0, "refresh": 19.0}
"""Milliseconds of the write transaction alone, ORM included: entity classes of version 1.12 on loopback
(facts/iam.md 1.1; 14 to 16 for a user's token)."""


ON_THE_BOX = {"nodes": 1, "cpu": 2, "host": "box"}
"""A site of a rig whose sites share one machine of two cores."""


@dataclass(frozen=True)
class Line:
    """One figure.

    Attributes:
        error: predicted against measured, as a share; None without a measurement.
    """

    what: str
    unit: str
    predicted: float
    measured: float | None
    source: str

    @property
    def error(self) -> float | None:
        """Signed relative error."""
        return None if not self.measured else self.predicted / self.measured - 1


def one_machine(members: int = 1) -> Topology:
    """Services and database members on one machine of two cores."""
    return Topology.model_validate(
        {
            "topology": "one-machine",
            "sites": {"a": {"nodes": 1, "cpu": 2}},
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": members}, "database": "db"},
                "db": {"kind": "galera", "members": {"a": members}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def database_away(rtt: float) -> Topology:
    """The service at one site, its database at another, both on one machine of two cores."""
    return Topology.model_validate(
        {
            "topology": "database-away",
            "sites": {"a": ON_THE_BOX, "b": ON_THE_BOX},
            "links": [{"between": ["a", "b"], "rtt": rtt, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1}, "database": "db"},
                "db": {"kind": "galera", "members": {"b": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def two_sites(rtt: float) -> Topology:
    """A service with its member at each of two sites on one machine; requests alternate between them."""
    return Topology.model_validate(
        {
            "topology": "two-members",
            "sites": {"a": ON_THE_BOX, "b": ON_THE_BOX},
            "links": [{"between": ["a", "b"], "rtt": rtt, "vpn": "none"}],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
                "db": {"kind": "galera", "members": {"a": 1, "b": 1}},
                "frontend": {"kind": "haproxy", "sites": ["a"], "backend": "iam"},
            },
            "clients": {"users": {"site": "a"}},
        }
    )


def bare(topology: Topology) -> Calibration:
    """The real service's demands, asked directly: no proxy and no VPN in the way."""
    nothing = Estimate(mean=0.0)
    base = Calibration.default().model_copy(
        update={"proxy_cpu": nothing, "vpn_delay": nothing, "public_delay": nothing}
    )
    return load(PROFILE).calibrated(base, topology)


def simulate(topology: Topology, flow: str, users: int, duration: float, seed: int = 0) -> dict[str, float]:
    """Metrics of one run without a fault, by key."""
    workload = Workload.model_validate(
        {"flow": flow, "users": users, "ramp": 1000.0, "think": 0.0, "duration": duration, "warmup": 2.0}
        | {"probes": [], "timeout": 60.0}
    )
    program = compile_program(topology, workload, (), bare(topology), size="production")
    simulation = Simulation.of(program, seed_of(seed, 0))
    simulation.run_until(duration)
    found = reduce(simulation.observation(), topology, workload)
    return {str(key): value.value for key, value in found.items()}


def single_requests() -> Iterator[Line]:
    """One client, one machine: the wall time of every request."""
    for flow, kinds in (("access-token", ("access-token",)), ("workflow", tuple(WALL)[1:])):
        found = simulate(one_machine(), flow, 1, 10.0)
        for kind in kinds:
            scope = f"flow={flow}" + (f",request={kind}" if flow == "workflow" else "")
            mean = found.get(f"latency_p50{{{scope}}}@whole", float("nan"))
            yield Line(f"{kind}: response, 1 client", "ms", 1e3 * mean, WALL[kind], "facts/iam.md 1.2")


def write_transactions() -> Iterator[Line]:
    """The write transaction alone, from the step tables: a sum, no simulation."""
    topology = one_machine()
    program = compile_program(topology, Workload(), (), bare(topology), size="production")
    tables = program.steps
    for kind, measured in WRITE_ALONE.items():
        place = steps.KINDS.index(kind)
        seconds = program.costs["local_commit"][0]
        for row in range(int(tables.first[place]), int(tables.first[place + 1])):
            if tables.kind[row] == steps.WORK:
                seconds += float(tables.app_cpu[row] + tables.db_cpu[row] + tables.wait[row])
        yield Line(f"{kind}: write transaction alone", "ms", 1e3 * seconds, measured, "facts/iam.md 1.1")


def load_on_one_machine(duration: float) -> Iterator[Line]:
    """Throughput and response of closed-loop clients without think time."""
    for flow in ("access-token", "refresh", "workflow", "introspect", "userinfo", "revoke"):
        for users in (1, 2, 4, 8, 16):
            found = simulate(one_machine(), flow, users, duration)
            for name, unit in (("throughput", "/s"), ("latency_p50", "ms"), ("latency_p95", "ms")):
                value = found[f"{name}{{flow={flow}}}@whole"] * (1e3 if unit == "ms" else 1)
                yield Line(f"{flow}, {users} clients: {name}", unit, value, None, "")


def distance(duration: float) -> Iterator[Line]:
    """Response as the database moves away: statements times the round trip."""
    for flow in ("access-token", "workflow"):
        for rtt in (0.001, 0.005, 0.01, 0.03, 0.1):
            found = simulate(database_away(rtt), flow, 1, max(duration, 600 * rtt))
            mean = found[f"latency_p50{{flow={flow}}}@whole"]
            yield Line(f"{flow}, database {1e3 * rtt:g} ms away: latency_p50", "ms", 1e3 * mean, None, "")


def two_members(duration: float) -> Iterator[Line]:
    """Shares of HTTP 500 and 401 across two members."""
    for name, topology in [
        ("one machine", one_machine(2)),
        *((f"{1e3 * rtt:g} ms apart", two_sites(rtt)) for rtt in (0.002, 0.03)),
    ]:
        for flow in ("access-token", "refresh", "workflow"):
            for users in (4, 16):
                found = simulate(topology, flow, users, duration)
                for metric, label in (
                    (f"error_ratio{{flow={flow},kind=conflict}}@whole", "HTTP 500 by conflict"),
                    (f"stale_reads{{flow={flow}}}@whole", "HTTP 401 by stale read"),
                    (f"throughput{{flow={flow}}}@whole", "throughput"),
                ):
                    share = label != "throughput"
                    value = found.get(metric, 0.0) * (100 if share else 1)
                    # Issuing tokens conflicts "rarely, but not never": no figure.
                    yield Line(
                        f"{flow}, {users} clients, {name}: {label}", "%" if share else "/s", value, None, ""
                    )


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indigo_profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated per figure (%(default)s)")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--only", choices=["requests", "write", "load", "distance", "members"])
    arguments = parser.parse_args()
    parts: dict[str, Iterator[Line]] = {
        "requests": single_requests(),
        "write": write_transactions(),
        "load": load_on_one_machine(arguments.seconds),
        "distance": distance(arguments.seconds),
        "members": two_members(arguments.seconds),
    }
    rows: list[dict[str, Any]] = []
    if not arguments.json:
        print(f"{'':58} {'predicted':>10} {'measured':>10} {'error':>8}")
    for name, lines in parts.items():
        if arguments.only not in (None, name):
            continue
        for line in lines:
            rows.append(asdict(line) | {"error": line.error})
            if not arguments.json:
                measured = "" if line.measured is None else f"{line.measured:.1f}"
                error = "" if line.error is None else f"{100 * line.error:+.0f} %"
                shown = f"{line.what:55} {line.unit:>2} {line.predicted:10.1f}"
                print(f"{shown} {measured:>10} {error:>8}", flush=True)
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
