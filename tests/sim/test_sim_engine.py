"""The engine against what its mechanisms must come to: commits, conflicts, request paths."""

from __future__ import annotations

from typing import Any

import pytest
import simpy

from experiments.faults import Partition
from experiments.workload import ProbeStream, Workload
from sim.analytic import order_time
from sim.calibration import Calibration, Estimate
from sim.engine.database import DatabaseError
from sim.engine.deployment import Deployment
from sim.engine.faults import inject
from sim.engine.reference import Simulation, open_simulation
from sim.program import Program, compile_program
from sim.protocols import rowlocks
from topologies.model import Topology

SITES = ("ral", "cam", "edi")


def topology(
    sites: int = 3,
    rtt: float = 0.03,
    cpu: float = 4.0,
    links: dict[tuple[str, str], float] | None = None,
    iam: dict[str, Any] | None = None,
    db: dict[str, Any] | None = None,
) -> Topology:
    """A deployment of everything at each site; users at the first."""
    names = SITES[:sites]
    pairs = links or {(a, b): rtt for i, a in enumerate(names) for b in names[i + 1 :]}
    everywhere = dict.fromkeys(names, 1)
    return Topology.model_validate(
        {
            "topology": "under-test",
            "sites": {name: {"nodes": 1, "cpu": cpu} for name in names},
            "links": [{"between": pair, "rtt": delay} for pair, delay in pairs.items()],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": everywhere, "database": "db", **(iam or {})},
                "db": {"kind": "galera", "members": everywhere, **(db or {})},
                "web": {"kind": "nginx", "sites": list(names), "upstream": "iam"},
                "frontend": {
                    "kind": "haproxy",
                    "sites": list(names),
                    "backend": "web",
                    "reach": "local-first",
                    "check": {"kind": "http"},
                },
                "dns": {"kind": "dns-balancer", "targets": "frontend", "check": {"interval": 2, "down": 3}},
            },
            "clients": {f"{name}-users": {"site": name} for name in names},
        }
    )


def exact(**changes: float) -> Calibration:
    """A calibration in which nothing varies and, unless given, database work and commits take no time."""

    def fixed(value: Any) -> Any:
        if isinstance(value, Estimate):
            return Estimate(mean=value.mean)
        return value

    base = Calibration.default()
    none = Estimate(mean=0.0)
    update: dict[str, Any] = {
        name: fixed(getattr(base, name))
        for name in ("proxy_cpu", "apply_cpu", "local_commit", "statement_rtt", "vpn_delay", "public_delay")
    }
    update |= {"apply_cpu": none, "local_commit": none, "vpn_delay": none, "public_delay": none}
    update |= {name: Estimate(mean=value) for name, value in changes.items()}
    update["requests"] = {
        kind: demand.model_copy(
            update={"app_cpu": fixed(demand.app_cpu), "db_cpu": fixed(demand.db_cpu), "wait": none}
        )
        for kind, demand in base.requests.items()
    }
    return base.model_copy(update=update)


def quiet(**changes: Any) -> Workload:
    """A workload that leaves the system nearly alone."""
    values: dict[str, Any] = {"users": 1, "think": 1e5, "duration": 60.0, "warmup": 1.0, "probes": ()}
    return Workload.model_validate(values | changes)


def program(deployed: Topology, workload: Workload, calibration: Calibration | None = None) -> Program:
    """Compiled with production CPUs: no quota gets in the way."""
    return compile_program(deployed, workload, (), calibration or exact(), size="production")


def commit_times(
    deployed: Topology, at: float = 20.0, size: int = 4000, calibration: Calibration | None = None
) -> list[float]:
    """Latency of a lone commit at each member."""
    found = []
    for index in range(len(deployed.sites)):
        deployment = Deployment(program(deployed, quiet(), calibration), seed=1)
        database = deployment.databases["db"]
        took: list[float] = []

        def write(index: int = index, deployment: Deployment = deployment, took: list[float] = took) -> Any:
            env = deployment.world.env
            yield env.timeout(at)
            transaction = deployment.databases["db"].members[index].begin(env.active_process)
            start = env.now
            yield from deployment.databases["db"].commit(transaction, size)
            took.append(env.now - start)

        deployment.world.env.process(write())
        deployment.world.env.run(until=at + 5)
        assert database.members[0].visible == database.members[-1].visible
        found += took
    return found


class TestCommit:
    """A commit's latency comes out of the messages."""

    def test_two_sites_take_one_round_trip(self) -> None:
        """components.md 1.2, measured 101.4 ms at RTT 100 ms."""
        assert commit_times(topology(2, rtt=0.1)) == pytest.approx([0.1, 0.1], abs=2e-3)

    def test_three_equal_sites_take_one_and_a_half(self) -> None:
        """components.md 1.2, measured 152.2 ms at RTT 100 ms."""
        assert commit_times(topology(3, rtt=0.1)) == pytest.approx([0.15] * 3, abs=3e-3)

    @pytest.mark.parametrize(("members", "messages"), [(2, 2), (3, 6)])
    def test_every_round_waits_for_the_messages_of_all(self, members: int, messages: int) -> None:
        """Two rounds of two members, three of three: in each a member handles those of all others."""
        sites = topology(members, rtt=0.1)
        plain, busy = (
            commit_times(sites, calibration=exact(group_message=seconds)) for seconds in (0.0, 0.0005)
        )
        extra = [more - less for less, more in zip(plain, busy, strict=True)]
        assert extra == pytest.approx([0.0005 * messages] * members, rel=0.05)

    def test_uneven_triangle_follows_the_formula(self) -> None:
        """One-way delays of 15, 50 and 100 ms give 165, 200 and 200 ms."""
        delays = {("ral", "cam"): 0.03, ("ral", "edi"): 0.1, ("cam", "edi"): 0.2}
        matrix = [[0.0, 0.015, 0.05], [0.015, 0.0, 0.1], [0.05, 0.1, 0.0]]
        found = commit_times(topology(3, links=delays))
        assert found == pytest.approx([order_time(matrix, i, i) for i in range(3)], abs=3e-3)
        assert found == pytest.approx([0.165, 0.2, 0.2], abs=3e-3)

    def test_unequal_ways_follow_the_formula(self) -> None:
        """80 ms out and 20 ms back: two members still take the round trip, three what the matrix gives."""
        pair = topology(2, rtt=0.1)
        skewed = [link.model_copy(update={"forward": 0.8}) for link in pair.links]
        found = commit_times(pair.model_copy(update={"links": skewed}))
        assert found == pytest.approx([0.1, 0.1], abs=2e-3)
        trio = topology(3, rtt=0.1)
        skewed = [link.model_copy(update={"forward": 0.8}) for link in trio.links]
        matrix = [[0.0, 0.08, 0.08], [0.02, 0.0, 0.08], [0.02, 0.02, 0.0]]
        found = commit_times(trio.model_copy(update={"links": skewed}))
        assert found == pytest.approx([order_time(matrix, i, i) for i in range(3)], abs=3e-3)

    def test_local_commit_comes_on_top(self) -> None:
        """The client's OK waits for the flush after the order is known."""
        deployment = Deployment(program(topology(1), quiet(), exact(local_commit=0.004)), seed=1)
        took = []

        def write() -> Any:
            env = deployment.world.env
            transaction = deployment.databases["db"].members[0].begin(env.active_process)
            yield from deployment.databases["db"].commit(transaction, 4000)
            took.append(env.now)

        deployment.world.env.process(write())
        deployment.world.env.run(until=1)
        assert took == pytest.approx([0.004])


def outcomes(simulation: Simulation, request: str) -> dict[str, int]:
    """How requests of one kind ended."""
    rows = simulation.observation().requests
    counts = rows[rows["request"] == request]["outcome"].value_counts()
    return {str(outcome): int(count) for outcome, count in counts.items()}


def simulate(
    deployed: Topology, workload: Workload, seed: int = 1, calibration: Calibration | None = None
) -> Simulation:
    """Run to the end of the load."""
    simulation = Simulation.of(program(deployed, workload, calibration), seed)
    simulation.run_until(workload.duration)
    return simulation


class TestDoubt:
    """A commit in flight when its member loses the others (components.md 1.6)."""

    @pytest.mark.parametrize(("start", "committed"), [(9.98, True), (10.0005, False)])
    def test_committed_if_a_survivor_held_it(self, start: float, committed: bool) -> None:
        """Sent before the cut it arrives at a survivor, after it it does not; the client gets 1180 anyway."""
        deployment = Deployment(program(topology(3, rtt=0.03), quiet()), seed=1)
        env, database = deployment.world.env, deployment.databases["db"]
        seen: dict[str, Any] = {}

        def write(name: str, at: float) -> Any:
            yield env.timeout(at)
            own = database.members[2].begin(env.active_process)
            seen[name] = own
            try:
                yield from database.commit(own, 4000)
            except DatabaseError as error:
                seen[f"{name} error"] = error

        env.process(write("asked", start))

        def cut() -> None:
            inject(deployment, Partition(isolate=["edi"]))

        deployment.world.at(10.0, cut)
        env.run(until=20)
        assert seen["asked error"].in_doubt
        assert seen["asked"].committed == committed
        assert (0 < seen["asked"].seqno <= database.members[0].visible) == committed


class TestConflicts:
    """T1 of facts/iam.md 2.1: refresh that clears access tokens against any issuance elsewhere."""

    busy = Workload(users=30, think=1.0, ramp=30.0, duration=40.0, warmup=2.0, probes=())

    def test_clearing_refresh_loses_to_issuance_at_other_members(self) -> None:
        """With the clear, some refreshes end in 500; others do where pages begin, in a few of a thousand."""
        simulation = simulate(topology(3, iam={"clear_access_tokens_on_refresh": True}), self.busy)
        assert outcomes(simulation, "refresh")["conflict"] > 20
        for kind in ("password", "token-exchange"):
            found = outcomes(simulation, kind)
            assert found.get("conflict", 0) <= 0.02 * found["ok"]

    def test_without_the_clear_there_is_hardly_a_conflict(self) -> None:
        """Plain issuances share foreign-key parents (T2) and, now and then, the beginning of a page."""
        simulation = simulate(topology(3, iam={"clear_access_tokens_on_refresh": False}), self.busy)
        found = outcomes(simulation, "refresh")
        assert found.get("conflict", 0) <= 0.02 * found["ok"]

    def test_one_member_has_lock_waits_but_no_conflict(self) -> None:
        """On a single node the others wait for the lock instead (T1')."""
        simulation = simulate(topology(1), self.busy)
        assert outcomes(simulation, "refresh").keys() == {"ok"}

    @pytest.mark.parametrize(("ahead", "error"), [(0.0, None), (0.2, "conflict")])
    def test_a_victim_on_the_wire_is_replayed_one_that_executes_is_lost(
        self, ahead: float, error: str | None
    ) -> None:
        """An issuance from elsewhere meets the range lock of a refresh.

        A refresh whose write set is out cannot be called back: it is certified and replayed, the
        client gets OK. One that still runs statements ends with 1213 (components.md 1.5).
        """
        deployment = Deployment(program(topology(2, rtt=0.1), quiet(), exact(apply_cpu=0.01)), seed=1)
        database = deployment.databases["db"]
        env = deployment.world.env
        ends: dict[str, Any] = {}

        def transaction(name: str, member: int, mode: int, at: float, statements: float) -> Any:
            yield env.timeout(at)
            own = database.members[member].begin(env.active_process)
            try:
                yield from database.members[member].lock(own, mode)
                yield env.timeout(statements)
                yield from database.commit(own, 4000)
                ends[name] = None
            except simpy.Interrupt as interrupt:
                assert isinstance(interrupt.cause, DatabaseError)
                ends[name] = interrupt.cause.kind
            ends[f"{name} at"] = env.now

        env.process(transaction("refresh", 1, rowlocks.RANGE, 10.0, ahead))
        env.process(transaction("issuance", 0, rowlocks.INSERT, 9.99, 0.0))
        env.run(until=15)
        assert ends["issuance"] is None
        assert ends["refresh"] == error
        if error is None:
            # One round trip to order it, one apply of the issuance before it, one of its own.
            assert ends["refresh at"] == pytest.approx(10.0 + 0.1 + 0.01 + 0.01, abs=2e-3)


class TestStaleReads:
    """Reading at a member what another has just written (facts/iam.md 2.2)."""

    def test_only_when_requests_of_one_user_change_members(self) -> None:
        """Round robin over all sites reads what is not applied yet; staying at the local site does not."""
        workload = Workload(users=30, think=1.0, ramp=30.0, duration=40.0, warmup=2.0, probes=())
        slow = exact(apply_cpu=0.02)
        local = topology(2, rtt=0.06)
        roaming = topology(2, rtt=0.06)
        front = roaming.services["frontend"].model_copy(update={"reach": "all"})
        roaming = roaming.model_copy(update={"services": {**roaming.services, "frontend": front}})
        assert "stale" not in outcomes(simulate(local, workload, calibration=slow), "refresh")
        assert outcomes(simulate(roaming, workload, calibration=slow), "refresh").get("stale", 0) > 0


class TestRequestPath:
    """Latency of a request that meets nobody."""

    def test_remote_front_end_costs_two_round_trips(self) -> None:
        """A probe opens its connection (one round trip) and asks (another); the local one costs neither."""
        workload = quiet(probes=(ProbeStream(flow="health", rate=5.0, timeout=5.0),))
        simulation = simulate(topology(2, rtt=0.1), workload)
        rows = simulation.observation().requests
        probes = rows[rows["source"] == "probe"]
        near = probes[probes["site"] == probes["front_end"]]["latency"]
        far = probes[probes["site"] != probes["front_end"]]["latency"]
        assert far.median() - near.median() == pytest.approx(0.2, abs=2e-3)

    def test_access_token_is_the_sum_of_its_parts(self) -> None:
        """CPU of proxies, service and database, 92 statement round trips, and the commit."""
        calibration = exact(local_commit=0.002)
        workload = quiet(probes=(ProbeStream(flow="access-token", rate=0.5, timeout=5.0),))
        rows = simulate(topology(1), workload, calibration=calibration).observation().requests
        found = rows[rows["source"] == "probe"]["latency"].median()
        demand = calibration.requests["access-token"]
        expected = (
            demand.app_cpu.mean
            + demand.db_cpu.mean
            + 2 * calibration.proxy_cpu.mean
            + 92 * calibration.statement_rtt.mean
            + 0.002
        )
        assert found == pytest.approx(expected, rel=1e-3)

    def test_distant_database_costs_a_round_trip_per_statement(self) -> None:
        """F4: with the only member at the other site, 92 statements and the commit cross the link."""
        data = topology(2, rtt=0.01).model_dump()
        data["services"]["db"]["members"] = {"ral": 1}
        workload = quiet(probes=(ProbeStream(flow="access-token", rate=0.5, timeout=10.0),))
        rows = simulate(Topology.model_validate(data), workload).observation().requests
        probes = rows[(rows["source"] == "probe") & (rows["outcome"] == "ok")]
        at_home = probes[probes["front_end"] == "ral"]["latency"].min()
        away = probes[probes["front_end"] == "cam"]["latency"].min()
        assert away - at_home == pytest.approx(93 * 0.01, abs=0.03)


class TestSteppable:
    """The simulation as a lab uses it."""

    def test_steps_change_nothing(self) -> None:
        """Stopping often gives the same rows as running through."""
        workload = Workload(users=5, duration=20.0, warmup=1.0)
        through, stepped = (open_simulation(topology(2), workload, seed=5) for _ in range(2))
        through.run_until(20.0)
        for second in range(1, 41):
            stepped.run_until(second / 2)
        assert through.observation().requests.equals(stepped.observation().requests)

    def test_now_is_where_it_was_run_to(self) -> None:
        """`now` follows run_until, also when nothing happens then."""
        simulation = open_simulation(topology(2), quiet(), seed=0)
        assert simulation.now == 0
        simulation.run_until(3.21)
        assert simulation.now == 3.21

    def test_starting_again_forgets_the_first_run(self) -> None:
        """One object can run twice, with equal results."""
        simulation = open_simulation()
        frames = []
        for _ in range(2):
            simulation.start(topology(2), Workload(users=3, duration=5.0), 9)
            simulation.run_until(5.0)
            frames.append(simulation.observation().requests)
        assert frames[0].equals(frames[1])

    def test_everything_is_up_at_first(self) -> None:
        """Status names the components as faults do."""
        from experiments.targets import components

        deployed = topology(3)
        status = open_simulation(deployed, quiet()).status()
        assert dict(status) == dict.fromkeys(components(deployed), "up")
