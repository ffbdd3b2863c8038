"""What a database member offers a service, whatever keeps the members in step."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeGuard

import simpy

from sim.engine.gaps import Gaps
from sim.engine.world import Daemon, World
from sim.program import Component
from sim.protocols import certification, rowlocks

if TYPE_CHECKING:
    from sim.engine.cleanup import CleanUp

Steps = Generator[simpy.Event, Any, Any]

TOKEN_SCOPE = 0
"""The resource that the clear-access-tokens delete locks as a whole (facts/iam.md 2.1, T1)."""

TOKEN_SCOPE_ROWS = 1
"""Its first rows, where that delete starts its scan."""


class DatabaseError(Exception):
    """A statement or a commit failed.

    Args:
        kind: `conflict` (1213, 1205) or `unavailable` (1047, 1180, 2003, 2013).
        in_doubt: the transaction may have been committed all the same.
    """

    def __init__(self, kind: str, in_doubt: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.in_doubt = in_doubt


class Transaction:
    """A write transaction.

    Attributes:
        number: its id, counting up.
        member: where it runs.
        process: the SimPy process that runs it, interrupted when it is aborted.
        state: EXECUTING, REPLICATING or ORDERED (sim.protocols.certification).
        seqno: place in the total order, 0 until it has one.
        committed: whether it took effect (at the member first, for replication).
        survived: False when it was committed and lost again.
        rows: rows it adds to token_scope.
        resource: what it locks of token_scope where it is applied; -1 for nothing.
        cleans, deletes, issues: what it does to rows that expire (sim.protocols.expiry).
        issued: number of the access token that it has issued there.
        apply_factor: what applying it costs, relative to an access-token request.
        token: key of its access token, 0 until it has inserted one.
        below: where the gap below that token begins, which it has locked; 0 for none.
        family: key of the refresh token that the access token belongs to, 0 for none.
        fresh: it has inserted that refresh token too.
        clears: it has deleted rows of token_scope.
    """

    __slots__ = (
        "aborted",
        "answer",
        "apply_factor",
        "below",
        "cleans",
        "clears",
        "committed",
        "deletes",
        "family",
        "fresh",
        "issued",
        "issues",
        "last_seen",
        "member",
        "number",
        "process",
        "replay",
        "resource",
        "rows",
        "seqno",
        "size",
        "state",
        "survived",
        "token",
    )

    def __init__(self, number: int, member: Member, process: simpy.Process | None) -> None:
        self.number = number
        self.member = member
        self.process = process
        self.state = certification.EXECUTING
        self.seqno = 0
        self.last_seen = 0
        self.size = 0
        self.rows = 0
        self.resource = TOKEN_SCOPE
        self.cleans = self.deletes = self.issues = self.issued = 0
        self.apply_factor = 1.0
        self.token = self.below = self.family = 0
        self.fresh = self.clears = False
        self.committed = False
        self.survived = True
        self.aborted = False
        self.replay = False
        self.answer: simpy.Event | None = None


class Flusher:
    """Group commit: commits that come while a flush is under way share the next one."""

    def __init__(self, world: World, daemon: Daemon) -> None:
        self._world = world
        self._daemon = daemon
        self._waiting: list[Any] = []
        self._busy = False

    def flush(self, done: Any) -> None:
        """Call ``done`` when what has been written up to now is on disk."""
        self._waiting.append(done)
        if not self._busy:
            self._start()

    def clear(self) -> None:
        """The process died."""
        self._waiting.clear()

    def _start(self) -> None:
        group, self._waiting = self._waiting, []
        self._busy = True

        def finished() -> None:
            self._busy = False
            if self._daemon.up:
                for done in group:
                    done()
            if self._waiting:
                self._start()

        self._world.at(self._world.cost("local_commit", "flush", self._daemon.name), finished)


class Member(Daemon):
    """A database server: its locks, its open transactions and what is visible in it.

    Attributes:
        visible: every transaction up to this seqno can be read here.
        gaps: its gap locks.
        ran: when it last ran statements, as far as it knows: how cold its caches are.
    """

    def __init__(
        self, world: World, component: Component, database: Database, index: int = 0, members: int = 1
    ) -> None:
        super().__init__(world, component)
        self.database = database
        self.locks = rowlocks.new_locks()
        self.gaps = Gaps(int(world.program.arrays["page_rows"][0]), index, members)
        self.transactions: dict[int, Transaction] = {}
        self.flusher = Flusher(world, self)
        self.ran = 0.0
        self.visible = 0
        self.token_scope_rows = world.token_scope_rows
        self._waits: dict[int, simpy.Event] = {}

    def serving(self) -> bool:
        """Whether a statement that reads a table would be answered."""
        return self.accepting() and self.database.is_ready(self)

    def accepting(self) -> bool:
        """Whether a new connection would be accepted and `SELECT 1` answered.

        A member outside the primary component does both: error 1047 spares statements that touch
        no table (tried on MariaDB 10.11 with galera 26.4: SELECT 1 and SELECT @@variable answer,
        SELECT from a table, INSERT, BEGIN and COMMIT fail). facts/iam.md 7 inferred the opposite.
        """
        return self.up and not self.paused

    def check(self, tables: bool = True) -> None:
        """Fail as a statement would now; one without ``tables`` needs no primary component.

        Raises:
            DatabaseError: the server is down (2003/2013) or not part of a primary component (1047).
        """
        if not self.up or (tables and not self.database.is_ready(self)):
            raise DatabaseError("unavailable")

    def begin(self, process: simpy.Process | None) -> Transaction:
        """Open a write transaction."""
        transaction = Transaction(self.database.next_number(), self, process)
        self.transactions[transaction.number] = transaction
        return transaction

    def lock(self, transaction: Transaction, mode: int, resource: int = TOKEN_SCOPE) -> Steps:
        """Take the lock on ``resource`` in ``mode``, waiting for it as long as InnoDB does.

        Raises:
            DatabaseError: the wait timed out (1205) or the transaction was a deadlock's victim (1213).
        """
        number = transaction.number
        acquired = rowlocks.acquire(self.locks, number, resource, mode)
        if acquired.victim == number:
            raise DatabaseError("conflict")
        if acquired.victim >= 0:
            self.abort(self.transactions[acquired.victim])
        if not acquired.granted:
            yield from self.waiting(number)

    def waiting(self, number: int) -> Steps:
        """Wait for the lock that transaction ``number`` has asked for, as long as InnoDB does.

        Raises:
            DatabaseError: the wait timed out (1205).
        """
        granted = self._waits[number] = self.world.env.event()
        try:
            yield self.world.env.any_of([granted, self.world.env.timeout(rowlocks.LOCK_WAIT_TIMEOUT)])
        finally:
            self._waits.pop(number, None)
        if not granted.triggered:
            raise DatabaseError("conflict")

    def abort(self, transaction: Transaction) -> None:
        """Roll a local transaction back on somebody else's behalf; its client gets 1213."""
        transaction.aborted = True
        self.end(transaction)
        if transaction.process is not None and transaction.process.is_alive:
            transaction.process.interrupt(DatabaseError("conflict"))

    def end(self, transaction: Transaction) -> None:
        """The transaction is over: let go of its locks."""
        self.transactions.pop(transaction.number, None)
        self.gaps.end(transaction)
        self.unlock(transaction.number)

    def unlock(self, number: int) -> None:
        """Let go of the locks of ``number`` and wake who was waiting for them."""
        for other, _ in rowlocks.release(self.locks, number):
            waiting = self._waits.get(other)
            if waiting is not None:
                waiting.succeed()
            else:
                self.database.lock_granted(self, other)
        clean_up = self.database.clean_up
        if clean_up is not None:
            for other in clean_up.unlock(self, number):
                if other in self._waits:
                    self._waits[other].succeed()

    def apply_cost(self, transaction: Transaction) -> float:
        """CPU that applying ``transaction``'s write set takes here this time, seconds."""
        return self.world.cost("apply_cpu", "apply", self.name) * transaction.apply_factor

    def kill(self) -> None:
        """The server dies: open transactions are gone, sessions broken."""
        if not self.up:
            return
        self.locks = rowlocks.new_locks()
        if self.database.clean_up is not None:
            self.database.clean_up.clear(self)
        self.gaps.forget()
        self.transactions.clear()
        self.flusher.clear()
        super().kill()


def is_member(daemon: Daemon) -> TypeGuard[Member]:
    """Whether a process is a database member, of whichever engine."""
    return daemon.component.kind == "db"


class Database:
    """What keeps members in step. Subclasses: sim.engine.galera, sim.engine.replication.

    Attributes:
        clean_up: what background jobs of the service clean up here, if it has any.
    """

    members: list[Member]
    clean_up: CleanUp | None = None

    def __init__(self, world: World) -> None:
        self.world = world
        self._number = 0

    def next_number(self) -> int:
        """A fresh transaction number."""
        self._number += 1
        return self._number

    def member_for(self, site: int, index: int) -> Member:
        """The member that a service at ``site`` uses: its own site's, else the nearest."""
        raise NotImplementedError

    def is_ready(self, member: Member) -> bool:
        """Whether statements are served (not error 1047)."""
        raise NotImplementedError

    def sees(self, member: Member, transaction: Transaction) -> bool:
        """Whether what ``transaction`` wrote can be read at ``member`` now."""
        return transaction.member is member or 0 < transaction.seqno <= member.visible

    def commit(self, transaction: Transaction, size: int) -> Steps:
        """Commit; returns when the client is told OK.

        Raises:
            DatabaseError: conflict, or the member lost its quorum or its process.
        """
        raise NotImplementedError

    def causal(self, member: Member) -> Steps:
        """Wait until a read sees everything committed before it (nothing to wait for by default)."""
        return
        yield

    def lock_granted(self, member: Member, number: int) -> None:
        """A lock that no local transaction waits for was granted: an applier's."""

    def kill(self, member: Member, graceful: bool) -> None:
        """End a member's process."""
        member.kill()

    def started(self, member: Member) -> None:
        """A member's process runs again."""
        member.start()

    def start_time(self, member: Member) -> float:
        """Seconds from starting the member's process until it listens."""
        return self.world.cost("start_db", "start", member.name)
