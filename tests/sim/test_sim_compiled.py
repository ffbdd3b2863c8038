"""Two engines, one answer: the compiled engine against the reference, event for event."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import loader as experiments
from experiments.faults import Degrade, Kill, Partition, Pause, ScheduledFault
from experiments.timeline import compile_timeline
from experiments.workload import ProbeStream, Workload
from sim import profile as profiles
from sim.calibration import Calibration, Estimate
from sim.engine.choice import engine_for, prepare
from sim.engine.compiled import databases, draws
from sim.engine.compiled import layout as w
from sim.engine.compiled.memory import Memory
from sim.engine.compiled.simulation import Simulation
from sim.engine.reference import Simulation as Reference
from sim.program import Program, compile_program
from sim.random import Stream
from sim.refill import Refill
from topologies import loader as topologies
from topologies.model import Topology

MEASURED = Calibration.default().model_copy(
    update={
        "refill": Refill(app=Estimate(mean=0.0007), db=Estimate(mean=0.0009)),
        "group_message": Estimate(mean=0.0004),
    }
)
"""With what only a calibration of this machine has."""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    """Kernels are compiled before anything is compared; a short ring of write sets is often trimmed."""
    prepare()
    usual, databases.HISTORY = databases.HISTORY, 8
    yield
    databases.HISTORY = usual


def differences(program: Program, seed: int, until: float) -> list[str]:
    """What the two engines do not agree on, in words; nothing if they are equal."""
    reference, fast = Reference.of(program, seed), Simulation.of(program, seed)
    for simulation in (reference, fast):
        simulation.run_until(until)
    ours, theirs = fast.observation(), reference.observation()
    found = []
    if not ours.requests.equals(theirs.requests):
        found.append(first_difference(ours.requests, theirs.requests))
    if ours.events != theirs.events:
        pairs = zip(ours.events, theirs.events, strict=False)
        found.append(f"events: {next((pair for pair in pairs if pair[0] != pair[1]), 'one has more')}")
    for name in ("audit", "extra", "windows"):
        if getattr(ours, name) != getattr(theirs, name):
            found.append(f"{name}: {getattr(ours, name)} != {getattr(theirs, name)}")
    if dict(fast.status()) != dict(reference.status()):
        found.append(f"status: {fast.status()} != {reference.status()}")
    return found


def first_difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """The request that ends first among those that differ."""
    tables = [
        table.assign(end=table["start"] + table["latency"])
        .sort_values("end", kind="stable")
        .reset_index(drop=True)
        for table in (ours, theirs)
    ]
    for row in range(min(map(len, tables))):
        if tuple(tables[0].loc[row]) != tuple(tables[1].loc[row]):
            return f"request {row}: {tables[0].loc[row].to_dict()} != {tables[1].loc[row].to_dict()}"
    return f"{len(ours)} requests != {len(theirs)}"


class TestDraws:
    """Random numbers inside the kernels."""

    def test_are_those_of_the_named_streams(self) -> None:
        """The same words from numpy's Philox and from the kernels', whatever the order."""
        memory = Memory(7, 64)
        record, plain = memory.stream("user.think", "a/3"), Stream(7, "user.think", "a/3")
        for index in [*range(600), 5, 1_000_000, 2**40]:
            here = (memory.i64, memory.f64, record, index)
            assert draws.uniform(*here) == plain.uniform(index)
            assert draws.normal(*here) == plain.normal(index)
            assert draws.exponential(*here) == plain.exponential(index)
        assert memory.i64[record + w.S_NEXT] == 0


class TestLayout:
    """Where everything lies in the memory."""

    def test_no_name_stands_twice(self) -> None:
        """The second would silently be meant wherever the first is written."""
        tree = ast.parse(Path(w.__file__).read_text(encoding="utf-8"))
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
        stored = [name for name in names if name.isupper()]
        assert sorted(stored) == sorted(set(stored))


class TestLibrary:
    """Every topology of the library under every experiment of it."""

    @pytest.mark.parametrize("size", ["lab", "production"])
    @pytest.mark.parametrize("experiment", sorted(experiments.library()))
    @pytest.mark.parametrize("topology", sorted(topologies.library()))
    def test_same_requests_events_and_fates(self, topology: str, experiment: str, size: Any) -> None:
        """Status, start and end of every request, every event, every write, to the last bit."""
        deployed = topologies.load(topology, size=size)
        found = experiments.load(experiment)
        timeline = []
        sites = list(deployed.sites)
        for fault in compile_timeline(found):
            kind = fault.fault
            if isinstance(kind, Kill | Pause):
                service, _, place = kind.target.partition("@")
                if place.partition("/")[0] not in sites or not exists(deployed, service, sites[-1]):
                    target = f"{service}@{sites[0 if service == 'cache' else -1]}"
                    kind = kind.model_copy(update={"target": target})
            elif isinstance(kind, Partition) and not set(kind.isolate or ()) <= set(sites):
                kind = kind.model_copy(update={"isolate": [sites[-1]]})
            elif isinstance(kind, Degrade) and not set(kind.between) <= set(sites):
                if len(sites) < 2:
                    continue
                kind = kind.model_copy(update={"between": (sites[0], sites[-1])})
            elif not isinstance(kind, Kill | Pause | Partition | Degrade):
                continue
            # Sooner and shorter than in the library: the tests want every phase, not every second.
            timeline.append(ScheduledFault(name=fault.name, fault=kind, at=6.0, duration=9.0))
        asked = Workload(users=8, duration=24.0, warmup=1.0, think=1.0)
        program = compile_program(deployed, asked, timeline, MEASURED, size=size)
        assert engine_for(program) == "compiled"
        assert differences(program, 11, 24.0) == []


def exists(topology: Topology, service: str, site: str) -> bool:
    """Whether a service has anything at a site."""
    return service in topology.services and site in str(topology.services[service].model_dump())


SITES = ("ral", "cam", "edi", "man")


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, int, float]:
    """A random deployment, what is asked of it and what breaks."""
    count = draw(st.integers(1, 4))
    sites = SITES[:count]
    rtt = st.sampled_from([0.002, 0.01, 0.03, 0.1])
    links = [
        {
            "between": (a, b),
            "rtt": draw(rtt),
            "jitter": draw(st.sampled_from([0.0, 0.001])),
            "loss": draw(st.sampled_from([0.0, 0.0, 0.02])),
        }
        for i, a in enumerate(sites)
        for b in sites[i + 1 :]
    ]
    members = sites[: draw(st.integers(1, count))]
    if draw(st.booleans()) or count == 1:
        database: dict[str, Any] = {
            "kind": "galera",
            "members": dict.fromkeys(members, 1),
            "slave_threads": draw(st.sampled_from([1, 1, 4])),
            "fc_limit": draw(st.sampled_from([16, 1])),
            "sync_wait": draw(st.sampled_from([0, 0, 1])),
        }
    else:
        database = {
            "kind": "mariadb-replication",
            "primary": sites[0],
            "replicas": list(sites[1:]),
            "semi_sync": draw(st.booleans()),
            "semi_sync_timeout": draw(st.sampled_from([1.0, 10.0])),
            "flush_log_at_trx_commit": draw(st.sampled_from([1, 2])),
        }
    database["isolation"] = draw(st.sampled_from(["repeatable-read", "read-committed"]))
    replicas = {site: draw(st.integers(1, 2)) for site in sites}
    services: dict[str, Any] = {
        "iam": {
            "kind": "indigo-iam",
            "replicas": replicas,
            "database": "db",
            "token_scope_rows": draw(st.sampled_from([0, 5000])),
            "access_token_lifetime": draw(st.sampled_from([3600.0, 1.0])),
            "token_cleanup_period": 2.0,
            "reuse_refresh_token": draw(st.booleans()),
            "clear_access_tokens_on_refresh": draw(st.booleans()),
            "threads": draw(st.sampled_from([200, 3])),
            "pool": draw(st.sampled_from([50, 2])),
        },
        "db": database,
        "web": {"kind": "nginx", "sites": list(sites), "upstream": "iam"},
        "frontend": {
            "kind": "haproxy",
            "sites": list(sites),
            "backend": "web",
            "reach": draw(st.sampled_from(["local", "local-first", "all"])),
            "balance": draw(st.sampled_from(["roundrobin", "leastconn"])),
            "redispatch": draw(st.booleans()),
            "check": {"kind": draw(st.sampled_from(["http", "tcp"])), "inter": 1.0},
        },
    }
    if draw(st.booleans()):
        services["dns"] = {
            "kind": "dns-balancer",
            "targets": "frontend",
            "check": {"interval": 1, "down": 2, "up": 2, "ok": 2},
        }
    if count > 1 and draw(st.booleans()):
        services["cache"] = {
            "kind": "redis-sentinel",
            "primary": sites[0],
            "replicas": list(sites[1:]),
            "sentinels": list(sites),
            "down_after": 2.0,
            "failover_timeout": 5.0,
        }
    topology = Topology.model_validate(
        {
            "topology": "generated",
            "sites": {
                site: {"nodes": draw(st.integers(1, 2)), "cpu": draw(st.sampled_from([0.3, 4.0]))}
                for site in sites
            },
            "links": links,
            "services": services,
            "clients": {f"{site}-users": {"site": site, "resolver_cache": 2.0} for site in sites},
        }
    )
    places = [f"{name}@{site}" for name in ("iam", "web", "frontend") for site in sites]
    places += [f"db@{site}" for site in (members if database["kind"] == "galera" else sites)]
    if "cache" in services:
        places += [f"cache@{site}" for site in sites]
    faults: list[Any] = []
    target = st.sampled_from(places)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["kill", "pause", "cut", "grudge", "degrade"]))
        if kind == "kill":
            faults.append(Kill(target=draw(target), signal=draw(st.sampled_from(["KILL", "TERM"]))))
        elif kind == "pause":
            faults.append(Pause(target=draw(target)))
        elif count > 1 and kind == "cut":
            path = draw(st.sampled_from(["vpn", "all"]))
            faults.append(Partition(isolate=[draw(st.sampled_from(sites))], path=path))
        elif count > 1 and kind == "grudge":
            faults.append(Partition(grudge={sites[0]: [sites[-1]]}))
        elif count > 1:
            faults.append(Degrade(between=(sites[0], sites[-1]), rtt=0.2, jitter=0.005, loss=0.05))
    timeline = [
        ScheduledFault(
            name=f"fault {number}",
            fault=fault,
            at=draw(st.sampled_from([2.0, 4.0, 5.5])),
            duration=draw(st.sampled_from([0.5, 4.0, 9.0])),
        )
        for number, fault in enumerate(faults)
    ]
    until = 18.0
    asked = Workload(
        flow=draw(st.sampled_from(["access-token", "refresh", "workflow"])),
        users=draw(st.integers(1, 30)),
        ramp=20.0,
        think=draw(st.sampled_from([0.2, 2.0])),
        duration=until,
        warmup=1.0,
        timeout=draw(st.sampled_from([3.0, 10.0])),
        probes=(
            ProbeStream(flow="health", rate=2.0, timeout=2.0),
            ProbeStream(flow="access-token", rate=1.0),
        ),
    )
    calibration = MEASURED if draw(st.booleans()) else Calibration.default()
    if draw(st.booleans()):
        profile = profiles.load("indigo-iam")
        hurry = {"first": 3.0, "page": draw(st.sampled_from([100, 3]))}
        jobs = {name: job.model_copy(update={"period": 2.0} | hurry) for name, job in profile.jobs.items()}
        calibration = profile.model_copy(update={"jobs": jobs}).calibrated(calibration, topology)
    size: Any = draw(st.sampled_from(["lab", "production"]))
    return compile_program(topology, asked, timeline, calibration, size=size), draw(st.integers(0, 9)), until


class TestGenerated:
    """Random deployments, workloads and fault timelines; a difference is shrunk and printed."""

    @settings(
        max_examples=int(os.environ.get("FAULTLINE_GENERATED", "40")),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(programs())
    def test_same_answer(self, case: tuple[Program, int, float]) -> None:
        """Same as above, for deployments that nobody has thought of."""
        assert differences(*case) == []


class TestCommitsLeftBehind:
    """A service that dies while the database still commits for it."""

    @pytest.mark.parametrize("seed", [0, 5, 9])
    def test_their_answers_reach_nobody(self, seed: int) -> None:
        """The commit goes on without its request, which must not be woken by it wherever it is by then."""
        sites = {"ral": 0.3, "cam": 0.3, "edi": 4.0, "man": 0.3}
        names = list(sites)
        topology = Topology.model_validate(
            {
                "topology": "two-nodes-a-site",
                "sites": {name: {"nodes": 2, "cpu": cpu} for name, cpu in sites.items()},
                "links": [
                    {"between": (a, b), "rtt": 0.002} for i, a in enumerate(names) for b in names[i + 1 :]
                ],
                "services": {
                    "iam": {
                        "kind": "indigo-iam",
                        "replicas": {"ral": 2, "cam": 2, "edi": 1, "man": 1},
                        "database": "db",
                        "reuse_refresh_token": False,
                        "clear_access_tokens_on_refresh": False,
                    },
                    "db": {"kind": "galera", "members": dict.fromkeys(names[:3], 1)},
                    "web": {"kind": "nginx", "sites": names, "upstream": "iam"},
                    "frontend": {
                        "kind": "haproxy",
                        "sites": names,
                        "backend": "web",
                        "reach": "local",
                        "check": {"kind": "http", "inter": 1.0},
                    },
                },
                "clients": {f"{name}-users": {"site": name, "resolver_cache": 2.0} for name in names},
            }
        )
        probes = (
            ProbeStream(flow="health", rate=2.0, timeout=2.0),
            ProbeStream(flow="access-token", rate=1.0),
        )
        asked = Workload(users=28, ramp=20.0, think=0.2, duration=12.0, warmup=1.0, probes=probes)
        killed = ScheduledFault(
            name="stop", fault=Kill(target="iam@cam", signal="TERM"), at=5.5, duration=4.0
        )
        assert differences(compile_program(topology, asked, [killed], MEASURED), seed, 12.0) == []


class TestLinks:
    """Links that flap and lose packets."""

    @pytest.mark.parametrize("balance", ["roundrobin", "leastconn"])
    def test_connections_meet_them_alike(self, balance: str) -> None:
        """SYNs into a link soon dead again, lost SYNs, loss probes, servers that are asked next."""
        names = ["ral", "cam", "edi"]
        everywhere = dict.fromkeys(names, 1)
        links = [("ral", "cam"), ("ral", "edi"), ("cam", "edi")]
        topology = Topology.model_validate(
            {
                "topology": "flapping",
                "sites": {name: {"nodes": 1, "cpu": 4} for name in names},
                "links": [{"between": pair, "rtt": 0.05, "loss": 0.1} for pair in links],
                "services": {
                    "iam": {"kind": "indigo-iam", "replicas": everywhere, "database": "db"},
                    "db": {"kind": "galera", "members": everywhere},
                    "frontend": {
                        "kind": "haproxy",
                        "sites": names,
                        "backend": "iam",
                        "reach": "all",
                        "balance": balance,
                        "redispatch": True,
                        "check": {"kind": "tcp", "inter": 2.0},
                    },
                },
                "clients": {f"{name}-users": {"site": name} for name in names},
            }
        )
        cut = Partition(isolate=["edi"])
        timeline = [
            ScheduledFault(name=f"cut {at}", fault=cut, at=at, duration=duration)
            for at, duration in ((4.0, 1.0), (5.1, 1.5), (6.8, 0.4), (9.0, 0.2), (9.3, 2.9))
        ]
        timeline.append(ScheduledFault(name="kill", fault=Kill(target="iam@cam"), at=14.0, duration=4.0))
        asked = Workload(users=20, think=0.3, duration=22.0, warmup=1.0, timeout=10.0)
        assert differences(compile_program(topology, asked, timeline, MEASURED), 3, 22.0) == []


class TestHistory:
    """The ring of ordered write sets, which forgets what every member has made visible."""

    def test_forgets_no_write_set_that_is_being_flushed(self) -> None:
        """One after it that failed is visible at once; replicas that clean up the same tokens make many."""
        topology = topologies.load("iris-3site-galera", size="production").with_(
            *(
                f"services.iam.replicas.{site}={count}"
                for site, count in (("ral", 3), ("cam", 2), ("edi", 1))
            ),
            "services.iam.access_token_lifetime=8s",
            "services.iam.token_cleanup_period=4s",
            "links[*].rtt=1ms",
        )
        profile = profiles.load("indigo-iam")
        soon = profile.jobs["clean-up"].model_copy(update={"first": 20.0})
        profile = profile.model_copy(update={"jobs": profile.jobs | {"clean-up": soon}})
        asked = Workload(
            flow="refresh",
            users=10,
            ramp=40.0,
            think=0.5,
            duration=40.0,
            warmup=1.0,
            probes=(ProbeStream(flow="access-token", rate=5.0),),
        )
        calibration = profile.calibrated(Calibration.default(), topology)
        program = compile_program(topology, asked, (), calibration, size="production")
        assert differences(program, 1, 40.0) == []
