"""The identity service: what a request does between its thread and the database.

The steps come from sim.steps. A request holds a thread all the time and a database connection
per transaction; statements cost CPU at both ends and a round trip each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from experiments.observation import outcome_of
from sim import steps as table
from sim.engine.database import TOKEN_SCOPE, TOKEN_SCOPE_ROWS, Database, DatabaseError, Transaction
from sim.engine.pools import Connections, Threads
from sim.engine.world import Daemon, World
from sim.program import VPN, Component
from sim.protocols import caches, rowlocks

Steps = Generator[simpy.Event, Any, Any]

OK, STALE, SERVER_ERROR, UNAVAILABLE = 200, 401, 500, 503
"""Answers of the service (facts/iam.md 2.1 and 2.2; a failing health check is 503)."""

SILENT = ("introspect", "revoke")
"""Requests that answer 200 although the token they are about is not there yet (facts/iam.md 2.2)."""

STATEMENT_BYTES = 300
"""Size of a statement or its answer on the wire (order of magnitude)."""


class Tokens:
    """What an iteration has been given: the transactions that wrote its tokens."""

    __slots__ = ("access", "refresh")

    def __init__(self) -> None:
        self.access: Transaction | None = None
        self.refresh: Transaction | None = None


class Call:
    """One HTTP request on its way through the system.

    Attributes:
        kind: request kind.
        tokens: of the iteration.
        app_factor, db_factor: this request's service times relative to their means.
        deadline: when the asker gives up.
        reply: happens when the asker has an answer, or knows that none will come.
        fresh: the first request of its client connection.
        status: answer on its way back, 0 until there is one.
        cleans, deletes: the row that it cleans up, if it is a background job's.
        conflict: the status is 500 because of a write conflict.
        stale: the status is 200 though the answer is wrong: the token was not there yet.
        outcome: what the asker saw, empty until `reply`.
        transaction: its write transaction, once begun.
    """

    __slots__ = (
        "app_factor",
        "cleans",
        "conflict",
        "db_factor",
        "deadline",
        "deletes",
        "fresh",
        "kind",
        "outcome",
        "reply",
        "stale",
        "status",
        "tokens",
        "transaction",
    )

    def __init__(
        self,
        kind: str,
        tokens: Tokens,
        app_factor: float,
        db_factor: float,
        deadline: float,
        reply: simpy.Event,
    ) -> None:
        self.kind = kind
        self.tokens = tokens
        self.app_factor = app_factor
        self.db_factor = db_factor
        self.deadline = deadline
        self.reply = reply
        self.fresh = True
        self.status = 0
        self.cleans = self.deletes = 0
        self.conflict = False
        self.stale = False
        self.outcome = ""
        self.transaction: Transaction | None = None

    def finish(self, status: int, outcome: str = "") -> None:
        """Tell the asker; only the first time counts."""
        if not self.outcome:
            self.status = status
            if self.stale and status == OK:
                outcome = outcome or "stale"
            self.outcome = outcome or outcome_of(status, conflict=self.conflict)
            self.reply.succeed()


class Plan:
    """The step tables as plain lists, by request kind; those of background jobs as `job <place>`.

    (kind, trips, app, db, wait, bytes, apply factor, database CPU per row of token_scope, rows added to it,
    points, refresh token).
    """

    def __init__(self, world: World) -> None:
        tables = world.program.steps
        rows = list(
            zip(
                *(
                    getattr(tables, name).tolist()
                    for name in (
                        *("kind", "trips", "app_cpu", "db_cpu", "wait", "bytes"),
                        *("apply_factor", "row_cpu", "rows", "points", "refresh_token"),
                    )
                ),
                strict=True,
            )
        )
        first = tables.first.tolist()
        places = [*table.KINDS, *(f"job {place}" for place in range(len(table.KINDS), len(first) - 1))]
        self.rows: dict[str, list[tuple[Any, ...]]] = {
            kind: rows[first[i] : first[i + 1]] for i, kind in enumerate(places)
        }


class Replica(Daemon):
    """One identity service process.

    Attributes:
        finds_database: whether a Service leads to the database now; None where there is no Service.
        ran: when it last ran, as far as it knows: how cold its caches are.
    """

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], database: Database, plan: Plan
    ) -> None:
        super().__init__(world, component)
        self.database = database
        self.member = database.member_for(component.site, component.index)
        self.plan = plan
        self.settings = settings
        costs = world.program.costs
        self._rtt = costs["statement_rtt"][0]
        self._refills = costs["refill_app"][0], costs["refill_db"][0]
        self.ran = 0.0
        self.together = self.member.cpu is self.cpu and self.member.site == self.site
        self.finds_database: Callable[[], bool] | None = None
        self._fresh()

    def _fresh(self) -> None:
        env, settings = self.world.env, self.settings
        self.threads = Threads(env, settings["threads"])
        self.connections = Connections(
            env, settings["pool"], settings["pool_timeout"], self._accepting, self._opening, self._hanging
        )

    def start(self) -> None:
        """A new process has new pools."""
        self._fresh()
        super().start()

    def _accepting(self) -> bool:
        if not self.member.accepting():
            return False
        if self.together:
            return True
        blocked = self.world.network.blocked[VPN]
        here, there = self.site, self.member.site
        return not (blocked[here][there] or blocked[there][here])

    def _opening(self) -> bool:
        """Whether a new connection to the database would be opened now."""
        return self._accepting() and (self.finds_database is None or self.finds_database())

    def _hanging(self) -> bool:
        """Whether an attempt to connect meets silence: a stopped process, a dead link."""
        return self.member.up and not self._accepting()

    def handle(self, call: Call) -> Steps:
        """Serve ``call``; its status is set when this returns.

        A request whose process dies gets no status: the connection is reset.
        """
        process = self.world.env.active_process
        assert process is not None
        self.inside[process] = None
        threads = self.threads
        try:
            yield from threads.acquire()
        except simpy.Interrupt:
            self.inside.pop(process, None)
            return
        try:
            yield from self.run(call, process)
        except simpy.Interrupt as interrupt:
            if interrupt.cause is self:
                return
            # The database ended the session: a conflict, or its process died.
            error = interrupt.cause
            kind = error.kind if isinstance(error, DatabaseError) else "unavailable"
            self._fail(call, kind)
        except DatabaseError as error:
            self._fail(call, error.kind)
        finally:
            self.inside.pop(process, None)
            threads.release()

    @staticmethod
    def _fail(call: Call, kind: str) -> None:
        # INDIGO neither retries nor distinguishes: 500 for whatever the database says (facts/iam.md 2.1).
        call.status = UNAVAILABLE if call.kind == "health" else SERVER_ERROR
        call.conflict = kind == "conflict"

    def run(self, call: Call, process: simpy.Process) -> Steps:
        """Go through the steps of ``call``.

        Raises:
            DatabaseError: the database said no.
            simpy.Interrupt: it ended the session, or this process died.
        """
        member = self.member
        transaction: Transaction | None = None
        broken = holding = False
        sync = not self.together
        try:
            for row in self.plan.rows[call.kind]:
                kind, trips, app, db, wait, size, apply, row_cpu, rows, points, token = row
                if kind == table.READ:
                    if not holding:
                        yield from self._connect(call)
                        holding = True
                    yield from self._waiting(call, points, trips, app, db, wait)
                    self.connections.release()
                    holding = False
                elif kind == table.HASH:
                    # Between two autocommitted reads: HikariCP has the connection back (facts/iam.md 2 d).
                    yield from self._work(app * call.app_factor, 0)  # its working set is small
                elif kind == table.WORK:
                    yield from self._waiting(call, points, trips, app, db, wait)
                elif kind in (table.CHECK_REFRESH, table.CHECK_ACCESS):
                    wanted = call.tokens.refresh if kind == table.CHECK_REFRESH else call.tokens.access
                    yield from self._causal()
                    if wanted is not None and not self.database.sees(member, wanted):
                        # Unknown tokens are inactive, and revoked already: no error (facts/iam.md 2.2).
                        call.stale = call.kind in SILENT
                        call.status = OK if call.stale else STALE
                        return
                elif kind == table.BEGIN:
                    yield from self._connect(call)
                    holding = True
                    transaction = call.transaction = member.begin(process)
                    if call.cleans:
                        transaction.cleans, transaction.deletes = call.cleans, call.deletes
                        transaction.resource = -1
                elif kind == table.LOCK_RANGE:
                    assert transaction is not None
                    # The scan locks row by row: other scans wait at the first row, inserts only meet it
                    # at the end of the index.
                    yield from member.lock(transaction, rowlocks.RANGE, TOKEN_SCOPE_ROWS)
                    member.gaps.scan(transaction, self._family(call))
                    if row_cpu:
                        yield from self._statements(call, 0, 0.0, row_cpu * member.token_scope_rows, 0.0)
                    member.gaps.wait()
                    transaction.resource = TOKEN_SCOPE
                    yield from member.lock(transaction, rowlocks.RANGE)
                    member.gaps.passed()
                elif kind == table.SCAN_ROWS:
                    # READ COMMITTED: what it deletes stays locked; what it passes, and the gaps, do not.
                    assert transaction is not None
                    yield from member.lock(transaction, rowlocks.RANGE, TOKEN_SCOPE_ROWS)
                    if row_cpu:
                        yield from self._statements(call, 0, 0.0, row_cpu * member.token_scope_rows, 0.0)
                elif kind == table.LOCK_INSERT:
                    assert transaction is not None
                    family = self._family(call) if token == table.HELD else 0
                    member.gaps.insert(transaction, family, token == table.NEW)
                    transaction.resource = TOKEN_SCOPE
                    yield from member.lock(transaction, rowlocks.INSERT)
                elif kind == table.LOCK_OLDEST:
                    assert transaction is not None
                    transaction.resource = TOKEN_SCOPE_ROWS
                    yield from member.lock(transaction, rowlocks.INSERT, TOKEN_SCOPE_ROWS)
                elif kind == table.LOCK_ROW:
                    assert transaction is not None and self.database.clean_up is not None
                    yield from self.database.clean_up.lock(transaction)
                else:
                    assert transaction is not None
                    transaction.rows, transaction.apply_factor = rows, apply
                    clean_up = self.database.clean_up
                    changed = clean_up is None or clean_up.commits(transaction, call)
                    if sync:
                        yield from self._round_trip()
                    if changed:
                        yield from self.database.commit(transaction, size)
            call.status = OK
            if transaction is not None:
                call.tokens.access = transaction
                if transaction.fresh:
                    call.tokens.refresh = transaction
        except (DatabaseError, simpy.Interrupt) as error:
            kind = error.kind if isinstance(error, DatabaseError) else getattr(error.cause, "kind", "")
            broken = kind != "conflict"
            raise
        finally:
            member.inside.pop(process, None)
            if holding:
                self.connections.release(broken)
            if transaction is not None and transaction.number in member.transactions:
                member.end(transaction)

    @staticmethod
    def _family(call: Call) -> int:
        held = call.tokens.refresh
        return held.family if held is not None else 0

    def _connect(self, call: Call) -> Steps:
        got = yield from self.connections.acquire()
        if not got:
            raise DatabaseError("unavailable")
        try:
            self.member.check(tables=call.kind != "health")
        except DatabaseError:
            self.connections.release(broken=True)
            raise

    def _causal(self) -> Steps:
        if getattr(self.database, "sync_wait", 0):
            yield from self.database.causal(self.member)

    def _waiting(self, call: Call, points: int, trips: int, app: float, db: float, wait: float) -> Steps:
        """Run statements with a causal wait before each transaction and autocommitted SELECT among them."""
        if not getattr(self.database, "sync_wait", 0):
            yield from self._statements(call, trips, app, db, wait)
            return
        parts = max(1, points)
        for part in range(parts):
            if points:
                yield from self._causal()
            some = trips * (part + 1) // parts - trips * part // parts
            yield from self._statements(call, some, app / parts, db / parts, wait / parts)

    def _round_trip(self) -> Steps:
        network = self.world.network
        yield from network.transfer(VPN, self.site, self.member.site, STATEMENT_BYTES)
        yield from network.transfer(VPN, self.member.site, self.site, STATEMENT_BYTES)

    def _statements(self, call: Call, trips: int, app: float, db: float, wait: float) -> Steps:
        """Run ``trips`` statements one after the other."""
        env, member = self.world.env, self.member
        process = env.active_process
        assert process is not None
        tables = call.kind != "health"  # it asks SELECT 1
        member.check(tables)
        member.inside[process] = None
        app *= call.app_factor
        db *= call.db_factor
        rest = trips * self._rtt + wait
        if self.together:
            # Service and database take turns on one CPU: one job for both.
            now, others = env.now, self.cpu.jobs
            app += caches.refill(now - self.ran, others, app, self._refills[0])
            db += caches.refill(now - member.ran, others, db, self._refills[1])
            self.ran = max(self.ran, now + (app + db))
            member.ran = max(member.ran, now + (app + db))
            yield from self._job(self, app + db, self, member)
            self.ran = max(self.ran, env.now)
            member.ran = max(member.ran, env.now)
        else:
            yield from self._work(app, self.cpu.jobs)
            now = env.now
            db += caches.refill(now - member.ran, member.cpu.jobs, db, self._refills[1])
            member.ran = max(member.ran, now + db)
            yield from self._job(member, db, member)
            member.ran = max(member.ran, env.now)
            network = self.world.network
            if trips:
                yield from self._round_trip()
                rest += (trips - 1) * network.rtt(VPN, self.site, member.site)
        if rest > 0:
            yield env.timeout(rest)
        if self.paused:
            yield from self.until_running()
        if member.paused:
            yield from member.until_running()
        member.inside.pop(process, None)
        member.check(tables)

    def _work(self, demand: float, others: int) -> Steps:
        """CPU of the service alone, while ``others`` take turns with it."""
        env = self.world.env
        demand += caches.refill(env.now - self.ran, others, demand, self._refills[0])
        self.ran = max(self.ran, env.now + demand)
        yield from self._job(self, demand, self)
        self.ran = max(self.ran, env.now)

    def _job(self, where: Daemon, demand: float, *owners: Daemon) -> Steps:
        event = simpy.Event(self.world.env)
        job = where.cpu.submit(demand, event.succeed, *owners)
        try:
            yield event
        except simpy.Interrupt:
            where.cpu.cancel(job)
            raise
