"""Where the time of each request goes: queue, CPU, network, ordering, lock, pool.

The reference engine is watched from outside, as SimPy's guide advises: the methods in which a request
spends time are wrapped on the objects of one simulation. A simulation that is not watched pays
nothing for it, and being watched changes no event of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.faults import ScheduledFault
from sim.calibration import Calibration
from sim.engine.reference import Simulation
from sim.predict import Scenario
from sim.program import Program, compile_program
from sim.replication import seed_of

PHASES = (
    "front end",  # HAProxy, nginx, and the network between user and service
    "thread",  # waiting for a request thread
    "pool",  # waiting for a database connection
    "cpu",  # computing, service and database
    "cpu queue",  # ready to compute, while others do or the quota is used up
    "network",  # round trips of statements
    "lock",  # waiting for the lock on token_scope
    "flow control",  # a commit that may not be sent: flow control, or a view change
    "ordering",  # from sending a write set until it is ordered; a causal read; a semi-sync replica
    "commit",  # waiting for its turn to commit, and the flush
    "other",  # in neither: the calibrated remainder
)

LEVEL = 0.9
SLOWEST = 0.01
FEWEST = 5
"""Requests at least that the slowest share must hold to be told apart."""

Steps = Generator[Any, Any, Any]


class Watch:
    """Phase times of the requests of one simulation.

    Attributes:
        rows: per request (start, latency, request, outcome, phase times...).
    """

    def __init__(self, simulation: Simulation) -> None:
        deployment = simulation._running
        self._env = deployment.world.env
        self._phases: dict[Any, dict[str, float]] = {}  # by the SimPy process that serves the request
        self._calls: dict[Any, dict[str, float]] = {}
        self._sent: dict[int, float] = {}
        self._ordered: dict[int, float] = {}
        self.rows: list[tuple[Any, ...]] = []
        for replica in deployment.replicas:
            self._wrap(replica, "handle", self._handle)
            self._pools(replica)
            self._wrap(replica, "_fresh", lambda fresh, *_, replica=replica: self._renew(fresh, replica))
            self._wrap(replica, "_statements", self._statements(replica))
            self._wrap(replica, "_job", self._job)
            self._wrap(replica, "_round_trip", self._timed("network"))
            self._wrap(replica, "_causal", self._timed("ordering"))
        for member in deployment.members:
            self._wrap(member, "lock", self._timed("lock"))
        for database in deployment.databases.values():
            group = getattr(database, "group", None)
            if group is not None:
                self._wrap(group, "submit", self._submit)
                self._wrap(database, "delivered", self._delivered)
                self._wrap(database, "commit", self._commit)
            else:
                self._wrap(database, "commit", self._replicated(database))
        self._wrap(deployment.load, "_record", self._record)

    @staticmethod
    def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
        inner = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: around(inner, *args, **kwargs))

    def _add(self, phase: str, seconds: float) -> None:
        found = self._phases.get(self._env.active_process)
        if found is not None:
            found[phase] = found.get(phase, 0.0) + seconds

    def _timed(self, phase: str) -> Callable[..., Steps]:
        def around(inner: Callable[..., Steps], *args: Any, **kwargs: Any) -> Steps:
            start = self._env.now
            try:
                return (yield from inner(*args, **kwargs))
            finally:
                self._add(phase, self._env.now - start)

        return around

    def _pools(self, replica: Any) -> None:
        self._wrap(replica.threads, "acquire", self._timed("thread"))
        self._wrap(replica.connections, "acquire", self._timed("pool"))

    def _renew(self, fresh: Callable[[], None], replica: Any) -> None:
        fresh()
        self._pools(replica)

    def _handle(self, inner: Callable[..., Steps], call: Any) -> Steps:
        process = self._env.active_process
        phases = self._phases[process] = self._calls.setdefault(call, {})
        start = self._env.now
        try:
            return (yield from inner(call))
        finally:
            phases["service"] = phases.get("service", 0.0) + self._env.now - start
            self._phases.pop(process, None)

    def _job(self, inner: Callable[..., Steps], where: Any, demand: float, *owners: Any) -> Steps:
        start = self._env.now
        try:
            return (yield from inner(where, demand, *owners))
        finally:
            elapsed = self._env.now - start
            self._add("cpu", min(demand, elapsed))
            self._add("cpu queue", max(0.0, elapsed - demand))

    def _statements(self, replica: Any) -> Callable[..., Steps]:
        def around(
            inner: Callable[..., Steps], call: Any, trips: int, app: float, db: float, wait: float
        ) -> Steps:
            found = self._phases.get(self._env.active_process)
            before = math.fsum(found.values()) if found is not None else 0.0
            start = self._env.now
            try:
                return (yield from inner(call, trips, app, db, wait))
            finally:
                if found is not None:
                    inside = math.fsum(found.values()) - before
                    rest = max(0.0, self._env.now - start - inside)
                    local = min(rest, wait + trips * replica._rtt)
                    self._add("other", local)
                    self._add("network", rest - local)

        return around

    def _submit(self, inner: Callable[..., bool], index: int, payload: int, size: int) -> bool:
        # Before sending: with one member the write set is ordered at once.
        number, kind = divmod(payload, 2)
        if kind == 0:
            self._sent[number] = self._env.now
        return inner(index, payload, size)

    def _delivered(self, inner: Callable[..., None], index: int, payload: int) -> None:
        number, kind = divmod(payload, 2)
        if kind == 0 and number in self._sent and self._origin(inner, number) == index:
            self._ordered.setdefault(number, self._env.now)
        inner(index, payload)

    @staticmethod
    def _origin(delivered: Any, number: int) -> int:
        database = delivered.__self__
        origin: int = database.by_number[number].member.index
        return origin

    def _commit(self, inner: Callable[..., Steps], transaction: Any, size: int) -> Steps:
        start = self._env.now
        try:
            return (yield from inner(transaction, size))
        finally:
            now = self._env.now
            sent = self._sent.pop(transaction.number, now)
            ordered = self._ordered.pop(transaction.number, now)
            self._add("flow control", sent - start)
            self._add("ordering", ordered - sent)
            self._add("commit", now - ordered)

    def _replicated(self, database: Any) -> Callable[..., Steps]:
        """Flush first; then, with semi-sync, the acknowledgement."""

        def around(inner: Callable[..., Steps], transaction: Any, size: int) -> Steps:
            start = self._env.now
            flushed = start
            written = database._log
            before = len(written)
            steps = inner(transaction, size)
            try:
                value = None
                while True:
                    event = steps.send(value)
                    if len(written) > before and transaction.committed and flushed == start:
                        flushed = self._env.now
                    value = yield event
            except StopIteration:
                return None
            finally:
                now = self._env.now
                if flushed == start:
                    flushed = now
                self._add("commit", flushed - start)
                self._add("ordering", now - flushed)

        return around

    def _record(self, inner: Callable[..., None], call: Any, start: float, source: str, *more: Any) -> None:
        inner(call, start, source, *more)
        phases = self._calls.pop(call, {})
        if source != "load":
            return
        latency = self._env.now - start
        service = phases.pop("service", None)
        if service is None:
            service = math.fsum(phases.values())
        phases["front end"] = max(0.0, latency - service)
        times = [phases.get(phase, 0.0) for phase in PHASES]
        self.rows.append((start, latency, call.kind, call.outcome, *times))

    def table(self) -> pd.DataFrame:
        """One row per request of the users."""
        return pd.DataFrame(self.rows, columns=["start", "latency", "request", "outcome", *PHASES])


@dataclass(frozen=True)
class Share:
    """A phase's part of the time of a group of requests.

    Attributes:
        seconds: mean per request.
        interval: of that mean over replications, 90 %.
        share: of the group's whole time.
    """

    phase: str
    seconds: float
    interval: tuple[float, float]
    share: float


@dataclass(frozen=True)
class Breakdown:
    """Time of a group of requests by phase, the largest first.

    Attributes:
        group: `slowest` or `all`.
        requests: in it, over all replications.
        latency: their mean.
        kinds: how many of each request.
        failed: outcomes of the requests that got no answer they could use, over all replications.
    """

    group: str
    requests: int
    latency: float
    phases: list[Share]
    kinds: dict[str, int]
    failed: dict[str, int]

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def watch(program: Program, seed: int) -> pd.DataFrame:
    """Run ``program`` to its end and tell where the time of each request went."""
    simulation = Simulation.of(program, seed)
    seen = Watch(simulation)
    simulation.run_until(program.workload["duration"])
    return seen.table()


def breakdowns(
    scenario: Scenario, calibration: Calibration, seed: int = 0, *, replications: int = 2
) -> list[Breakdown]:
    """Where the time goes in the slowest 1 % and in all answered requests of the users."""
    timeline: Sequence[ScheduledFault] = scenario.timeline
    program = compile_program(
        scenario.topology,
        scenario.workload,
        timeline,
        calibration,
        size=scenario.size,
        platform=scenario.platform,
    )
    tables = [watch(program, seed_of(seed, number)) for number in range(replications)]
    tables = [table[table["start"] >= scenario.workload.warmup] for table in tables]
    failed: dict[str, int] = {}
    for table in tables:
        for outcome, count in table.loc[table["outcome"] != "ok", "outcome"].value_counts().items():
            failed[str(outcome)] = failed.get(str(outcome), 0) + int(count)
    answered = [table[table["outcome"] == "ok"] for table in tables]
    slowest = [
        table.nlargest(max(min(FEWEST, len(table)), math.ceil(SLOWEST * len(table))), "latency")
        for table in answered
    ]
    return [_breakdown("slowest", slowest, failed), _breakdown("all", answered, failed)]


def _breakdown(group: str, tables: Sequence[pd.DataFrame], failed: dict[str, int]) -> Breakdown:
    tables = [table for table in tables if len(table)]
    if not tables:
        return Breakdown(group, 0, 0.0, [], {}, failed)
    everything = pd.concat(tables)
    latency = float(everything["latency"].mean())
    shares = []
    for phase in PHASES:
        means = [float(table[phase].mean()) for table in tables]
        mean = float(everything[phase].mean())
        half = math.inf
        if len(means) > 1:
            spread = float(np.std(means, ddof=1)) / math.sqrt(len(means))
            half = float(stats.t.ppf((1 + LEVEL) / 2, len(means) - 1)) * spread
        low, high = max(0.0, mean - half), min(latency, mean + half)
        shares.append(Share(phase, mean, (low, high), mean / latency if latency else 0.0))
    shares.sort(key=lambda share: -share.seconds)
    kinds = {str(kind): int(count) for kind, count in everything["request"].value_counts().items()}
    return Breakdown(group, len(everything), latency, shares, kinds, failed)
