"""Background jobs of the identity service: what they do, what they cost, and what users notice of them."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import Any

import pytest
import simpy

from experiments.faults import Kill, Pause, ScheduledFault
from experiments.workload import Workload
from sim import profile as profiles
from sim.calibration import Calibration, Estimate
from sim.engine.database import TOKEN_SCOPE_ROWS, DatabaseError
from sim.engine.reference import Simulation
from sim.profile import Profile
from sim.program import Program, compile_program
from sim.protocols import rowlocks
from sim.protocols.expiry import HOLDERS, TOKENS
from sim.steps import COMMIT, KINDS
from topologies.model import Topology

LIFETIME = 20.0
FIRST = 60.0
PERIOD = 30.0


def topology(
    members: dict[str, int], replicas: dict[str, int], rtt: float = 0.01, **settings: Any
) -> Topology:
    """Sites of two cores, a Galera cluster unless ``database`` says otherwise, tokens that soon expire."""
    sites = sorted({*members, *replicas})
    database = settings.pop("database", {"kind": "galera", "members": members})
    return Topology.model_validate(
        {
            "topology": "jobs",
            "sites": {site: {"nodes": 1, "cpu": 2} for site in sites},
            "links": [
                {"between": (a, b), "rtt": rtt, "vpn": "none"}
                for i, a in enumerate(sites)
                for b in sites[i + 1 :]
            ],
            "services": {
                "iam": {
                    "kind": "indigo-iam",
                    "replicas": replicas,
                    "database": "db",
                    "access_token_lifetime": LIFETIME,
                    "token_cleanup_period": PERIOD,
                }
                | settings,
                "db": database,
                "frontend": {"kind": "haproxy", "sites": list(replicas), "backend": "iam", "reach": "local"},
            },
            "clients": {f"{site}-users": {"site": site} for site in replicas},
        }
    )


def hurried(**changes: Any) -> Profile:
    """The real service's profile with a first clean-up 30 to 60 s after the load has started."""
    found = profiles.load("indigo-iam")
    changed = {
        "clean-up": {"first": FIRST} | changes,
        "approved-sites": {"period": PERIOD},
        "device-codes": {"period": PERIOD},
    }
    jobs = {name: job.model_copy(update=changed.get(name, {})) for name, job in found.jobs.items()}
    return found.model_copy(update={"jobs": jobs})


def compiled(
    found: Topology,
    flow: str = "access-token",
    users: int = 2,
    duration: float = 30.0,
    profile: Profile | None = None,
    faults: tuple[ScheduledFault, ...] = (),
) -> Program:
    """Users for ``duration`` seconds; the jobs go on after them."""
    asked = {"flow": flow, "users": users, "ramp": 50.0, "think": 0.3, "duration": duration, "warmup": 0.0}
    workload = Workload.model_validate(asked | {"probes": []})
    nothing = dict.fromkeys(("proxy_cpu", "public_delay", "vpn_delay"), Estimate(mean=0.0))
    calibration = Calibration.default().model_copy(update=nothing)
    calibration = (profile or hurried()).calibrated(calibration, found)
    return compile_program(found, workload, faults, calibration, size="production")


def simulate(program: Program, until: float, seed: int = 1) -> Any:
    """The deployment after a run of the reference engine."""
    simulation = Simulation.of(program, seed)
    simulation.run_until(until)
    return simulation._running


def issued(deployment: Any) -> int:
    """Requests that have left a token."""
    return sum(bool(call.transaction and call.transaction.issued) for call in deployment.load.calls)


def removed(deployment: Any) -> list[int]:
    """Numbers of the tokens whose delete was ordered."""
    rows = deployment.databases["db"].clean_up.rows[TOKENS]
    mask = len(rows.deleted) - 1
    numbers = range(1, rows.ends[1])
    return [number for number in numbers if number < rows.ends[0] or rows.deleted[number & mask]]


def failed(deployment: Any) -> int:
    """Write sets that certification has failed."""
    return int(deployment.databases["db"].passed.count(False))


class TestCleanUp:
    """Expired tokens and their holders go."""

    @pytest.mark.parametrize(
        "database",
        [
            {"kind": "galera", "members": {"a": 1}},
            {"kind": "mariadb-replication", "primary": "a", "replicas": []},
        ],
    )
    def test_leaves_nothing_behind(self, database: dict[str, Any]) -> None:
        """One commit for each token and one for its holder; token_scope is as long as at the start."""
        found = topology({"a": 1}, {"a": 1}, database=database, token_scope_rows=10)
        deployment = simulate(compiled(found), 130.0)
        tokens, member = issued(deployment), deployment.members[0]
        assert tokens > 100
        assert member.visible == 3 * tokens
        assert member.token_scope_rows == 10
        rows = deployment.databases["db"].clean_up.rows
        assert [table.ends[1] for table in rows.values()] == [tokens + 1, tokens + 1]
        for which in (TOKENS, HOLDERS):
            assert deployment.databases["db"].clean_up.page(member, which, 100) == []

    def test_starts_after_the_first_delay_and_leaves_live_tokens_alone(self) -> None:
        """Nothing is deleted before; afterwards the oldest, and only what is older than the lifetime."""
        simulation = Simulation.of(compiled(topology({"a": 1}, {"a": 1}), duration=75.0), 1)
        deployment: Any = simulation._running
        simulation.run_until(FIRST - PERIOD - 0.1)
        assert deployment.members[0].visible == issued(deployment) > 0
        simulation.run_until(75.0)
        gone = removed(deployment)
        rows = deployment.databases["db"].clean_up.rows[TOKENS]
        assert 0 < len(gone) < rows.ends[1] - 1
        assert gone == list(range(1, len(gone) + 1))
        assert rows.due[gone[-1] & (len(rows.due) - 1)] <= 75.0

    def test_keeps_holders_of_refresh_tokens(self) -> None:
        """A user's tokens go with their scopes; the holder that they share with the refresh token stays."""
        deployment = simulate(compiled(topology({"a": 1}, {"a": 1}), flow="refresh"), 130.0)
        rows = deployment.databases["db"].clean_up.rows
        assert rows[TOKENS].ends[1] > 50
        assert rows[HOLDERS].ends[1] == 1
        assert deployment.members[0].token_scope_rows == 0

    def test_memory_follows_what_is_alive(self) -> None:
        """Tables are no longer than what was issued in a lifetime and between two clean-ups."""
        deployment = simulate(compiled(topology({"a": 1}, {"a": 1}), users=8, duration=200.0), 200.0)
        rows = deployment.databases["db"].clean_up.rows[TOKENS]
        assert rows.ends[1] > 3000
        assert len(rows.inserted) <= 2048

    @pytest.mark.parametrize(("rtt", "rate"), [(0.01, 1.0), (0.0003, 25.0)])
    def test_is_as_fast_as_the_database_is_near(self, rtt: float, rate: float) -> None:
        """About one token and its holder per second at 10 ms, 25 at 0.3 ms (facts/iam.md 2.3)."""
        simulation = Simulation.of(compiled(topology({"b": 1}, {"a": 1}, rtt=rtt), users=2), 1)
        deployment = simulation._running
        spans: list[tuple[float, float]] = []
        simulation.run_until(FIRST - PERIOD)
        watch(deployment.replicas[0], spans)
        simulation.run_until(FIRST + 100.0)
        tokens = len(removed(deployment))
        assert tokens == issued(deployment) > 30
        assert tokens / sum(end - start for start, end in spans) == pytest.approx(rate, rel=0.25)

    def test_stops_reading_pages_when_its_time_is_over(self) -> None:
        """The budget is asked between pages: a page that was begun is done to its end, no other is begun."""
        found = topology({"b": 1}, {"a": 1}, rtt=0.02)
        program = compiled(found, users=10, profile=hurried(page=7, budget=3.0))
        assert len(removed(simulate(program, FIRST + PERIOD / 2))) == 7


class TestReplicas:
    """No lock between replicas."""

    def test_on_two_members_race_for_the_same_rows(self) -> None:
        """Every row is deleted once; the losers have worked for nothing."""
        alone, both = (
            simulate(compiled(topology({"a": 1, "b": 1}, replicas), users=20), 160.0)
            for replicas in ({"a": 1}, {"a": 1, "b": 1})
        )
        assert failed(alone) == 0
        assert failed(both) > 20
        for deployment in (alone, both):
            tokens = issued(deployment)
            assert sum(deployment.databases["db"].passed[1:]) == 3 * tokens
            assert all(member.token_scope_rows == 0 for member in deployment.members)

    def test_on_one_member_wait_for_each_other(self) -> None:
        """The row lock keeps the second one out; then the row is gone and there is nothing to commit."""
        deployment = simulate(compiled(topology({"a": 1}, {"a": 3}), users=20), 160.0)
        assert failed(deployment) == 0
        assert deployment.members[0].visible == 3 * issued(deployment)

    def test_run_one_job_at_a_time(self) -> None:
        """A replica's jobs never overlap; notifications are looked for every five seconds between runs."""
        simulation = Simulation.of(compiled(topology({"b": 1}, {"a": 2}), users=10), 1)
        deployment = simulation._running
        spans: dict[str, list[tuple[float, float]]] = {}
        for replica in deployment.replicas:
            watch(replica, spans.setdefault(replica.name, []))
        simulation.run_until(FIRST - PERIOD - 1.0)
        before = {name: [start for start, _ in found] for name, found in spans.items()}
        simulation.run_until(120.0)
        for name, found in spans.items():
            assert all(a[1] <= b[0] for a, b in pairwise(found))
            assert len(found) > 50
            looks = len(before[name])
            assert 5 <= looks <= 10  # in 29 s: notifications, their expiry, approved sites, device codes


def watch(replica: Any, spans: list[tuple[float, float]]) -> None:
    """Note when statements of jobs begin and end at a replica."""
    inner, env = replica.run, replica.world.env

    def run(call: Any, process: Any) -> Generator[Any, Any, Any]:
        start = env.now
        try:
            yield from inner(call, process)
        finally:
            if call.kind.startswith(("job", "page")):
                spans.append((start, env.now))

    replica.run = run


class TestLocks:
    """Deletes and the scan of a refresh that clears access tokens."""

    @pytest.mark.parametrize(("mine", "aborted"), [("b", False), ("a", True)])
    def test_a_delete_meets_the_scan_where_it_begins(self, mine: str, aborted: bool) -> None:
        """A scan elsewhere is aborted by the applied delete; at the same member the delete waits for it."""
        found = topology({"a": 1, "b": 1}, {"b": 1})
        simulation = Simulation.of(compiled(found, duration=25.0), 1)
        deployment = simulation._running
        member = next(m for m in deployment.members if m.name == f"db@{mine}")
        env = deployment.world.env
        simulation.run_until(FIRST - PERIOD - 1.0)
        ends: list[str] = []

        def scan() -> Generator[Any, Any, Any]:
            transaction = member.begin(env.active_process)
            yield from member.lock(transaction, rowlocks.RANGE, TOKEN_SCOPE_ROWS)
            try:
                yield env.timeout(60.0)
            except simpy.Interrupt as interrupt:
                assert isinstance(interrupt.cause, DatabaseError)
                ends.append(interrupt.cause.kind)
                return
            ends.append("done")
            member.end(transaction)

        env.process(scan())
        visible = deployment.members[0].visible
        simulation.run_until(FIRST + 20.0)
        assert ends == (["conflict"] if aborted else [])
        assert (deployment.members[0].visible > visible) == aborted
        simulation.run_until(200.0)
        assert ends == (["conflict"] if aborted else ["done"])
        assert deployment.members[0].visible == 3 * issued(deployment)


class TestProcesses:
    """Jobs live and die with their replica."""

    def test_a_new_process_begins_with_the_first_delay(self) -> None:
        """Killed before its first clean-up and started again: nothing is deleted for the whole delay."""
        killed = ScheduledFault(name="kill", fault=Kill(target="iam@a"), at=25.0, duration=5.0)
        program = compiled(topology({"a": 1}, {"a": 1}), faults=(killed,))
        simulation = Simulation.of(program, 1)
        deployment = simulation._running
        simulation.run_until(FIRST + 29.0)
        assert deployment.members[0].visible == issued(deployment)
        simulation.run_until(FIRST + 200.0)
        assert deployment.members[0].visible == 3 * issued(deployment)

    def test_errors_of_the_database_are_survived(self) -> None:
        """A primary that dies in the middle of a clean-up: the rest is deleted when it is back."""
        database = {"kind": "mariadb-replication", "primary": "a", "replicas": []}
        simulation = Simulation.of(compiled(topology({"a": 1}, {"a": 1}, database=database)), 1)
        deployment = simulation._running
        while not removed(deployment):
            simulation.run_until(simulation.now + 0.05)
        fault = simulation.inject(Kill(target="db@a"))
        simulation.run_until(simulation.now + 10.0)
        assert 0 < len(removed(deployment)) < issued(deployment)
        simulation.undo(fault)
        simulation.run_until(simulation.now + 200.0)
        assert len(removed(deployment)) == issued(deployment)


class TestSettings:
    """Where the numbers come from."""

    def test_periods_are_settings_of_the_service(self) -> None:
        """IAM_TOKEN_CLEANUP_PERIOD_MSEC and IAM_NOTIFICATION_TASK_DELAY; the profile's otherwise."""
        profile = profiles.load("indigo-iam")
        for settings, expected in (
            ({"token_cleanup_period": None}, [300.0, 300.0, 300.0, 5.0, 30.0]),
            ({"notification_task_delay": 30.0}, [PERIOD, 300.0, 300.0, 30.0, 30.0]),
        ):
            jobs = compiled(topology({"a": 1}, {"a": 1}, **settings), profile=profile).jobs
            assert jobs is not None
            assert jobs.period.tolist() == expected

    def test_a_period_is_a_millisecond_or_more(self) -> None:
        """Anything shorter would be a job without end."""
        with pytest.raises(ValueError, match=r"greater than or equal to 0\.001"):
            topology({"a": 1}, {"a": 1}, token_cleanup_period=0.0)

    def test_a_token_takes_about_eighty_round_trips_and_two_commits(self) -> None:
        """Loading and deleting a token and its holder (facts/iam.md 2.3)."""
        parts = profiles.load("indigo-iam").jobs["clean-up"].parts
        removals = [part for part in parts if part.rows is not None]
        assert [part.load + part.statements for part in removals] == [52, 30]

    def test_applying_a_delete_costs_by_its_rows(self) -> None:
        """Five rows for a token with its scopes, ten for a holder; an access token's insert has eight."""
        steps = compiled(topology({"a": 1}, {"a": 1})).steps
        mine = slice(int(steps.first[len(KINDS)]), None)
        weights = profiles.load("indigo-iam").apply_weights
        assert weights is not None
        expected = [weights.of(rows) / weights.of(8) for rows in (5, 10)]
        assert steps.apply_factor[mine][steps.kind[mine] == COMMIT].tolist() == pytest.approx(expected)

    def test_the_labs_own_service_has_none(self) -> None:
        """No thread of it looks for expired tokens, so its profile has no jobs and its programs no tables."""
        assert profiles.load("lab-iam").jobs == {}
        found = topology({"a": 1}, {"a": 1})
        assert compile_program(found, Workload()).jobs is None

    def test_replicas_were_started_one_after_the_other(self) -> None:
        """Due times at the start of the load: the first delay less what the replica has been up for."""
        jobs = compiled(topology({"a": 1}, {"a": 1})).jobs
        assert jobs is not None
        assert jobs.due(0.0) == [FIRST, 0.0, 0.0, 0.0, 0.0]
        assert jobs.due(12.0) == [FIRST - 12.0, 18.0, 18.0, 3.0, 18.0]


class TestEngines:
    """The compiled engine does the same."""

    @pytest.mark.parametrize(
        ("flow", "members", "replicas", "fault"),
        [
            ("access-token", {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 1}, None),
            ("refresh", {"a": 1, "b": 1}, {"a": 2, "b": 1}, Kill(target="iam@b")),
            ("workflow", {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}, Kill(target="db@b")),
            ("workflow", {"a": 2}, {"a": 2}, Pause(target="iam@a/1")),
        ],
    )
    def test_same_answers_and_same_tables(
        self, flow: str, members: dict[str, int], replicas: dict[str, int], fault: Any
    ) -> None:
        """Requests, events, fates, CPU, rows of every member, every entry of the tables, to the last bit."""
        from sim.engine.choice import prepare
        from sim.engine.compiled import layout as w
        from sim.engine.compiled.simulation import Simulation as Compiled

        prepare()
        faults = () if fault is None else (ScheduledFault(name="f", fault=fault, at=65.0, duration=10.0),)
        program = compiled(topology(members, replicas), flow, users=4, duration=100.0, faults=faults)
        reference, fast = Simulation.of(program, 3), Compiled()
        fast._open(program, 3)
        for simulation in (reference, fast):
            simulation.run_until(120.0)
        ours, theirs = fast.observation(), reference.observation()
        assert ours.requests.equals(theirs.requests)
        assert (ours.events, ours.audit, ours.extra) == (theirs.events, theirs.audit, theirs.extra)
        plain, model = reference._running, fast._model
        clean_up = plain.databases["db"].clean_up
        assert clean_up is not None
        whole, real = model.memory.i64, model.memory.f64
        for member, other in zip(plain.members, model.members, strict=True):
            assert other.visible == member.visible
            assert whole[other.record + w.B_TOKEN_ROWS] == member.token_scope_rows
        database = model.databases["db"].record
        for word, rows in zip((w.E_TOKENS, w.E_HOLDERS), clean_up.rows.values(), strict=True):
            table = int(whole[database + word])
            length, columns = int(whole[table + w.F_CAP]), int(whole[table + w.F_COLUMNS])
            assert whole[table + w.F_FIRST : table + w.F_FIRST + 2].tolist() == rows.ends
            assert length == len(rows.inserted)
            for number, column in enumerate(rows[1:]):
                memory = real if number == 5 else whole
                place = columns + number * length
                assert memory[place : place + length].tolist() == column
        assert clean_up.rows[TOKENS].ends[0] > 100
