"""What there is to clean up in a database, who is at it, and who loses (sim.protocols.expiry).

A delete of a row waits for one at the same member; an applier that deletes the row aborts it; of two on the
wire certification fails the later one (T5 in facts/iam.md 2.1).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from sim.engine.database import Database, Member, Transaction
from sim.jobs import JobTables
from sim.protocols import expiry, rowlocks
from sim.protocols.expiry import HOLDERS, TOKENS
from sim.steps import KINDS

if TYPE_CHECKING:
    from sim.engine.service import Call

Steps = Generator[simpy.Event, Any, Any]


class CleanUp:
    """Rows that expire, and the locks on them.

    Attributes:
        rows: access tokens and holders without a token, by TOKENS and HOLDERS.
    """

    def __init__(self, database: Database, jobs: JobTables, lifetime: float) -> None:
        self._database = database
        self._lifetime = lifetime
        self._issues = dict(zip(KINDS, jobs.issues.tolist(), strict=True))
        self._replaces = dict(zip(KINDS, jobs.replaces.tolist(), strict=True))
        self._places = {member: index for index, member in enumerate(database.members)}
        self._locks = {member: rowlocks.new_locks() for member in database.members}
        self.rows = {TOKENS: expiry.new_rows(), HOLDERS: expiry.new_rows()}

    def page(self, member: Member, which: int, limit: int) -> list[int]:
        """The oldest rows that are due, as ``member`` sees them."""
        rows, found = self.rows[which], [0] * limit
        expiry.forget(rows, min(other.visible for other in self._places))
        count = expiry.page(rows, self._database.world.env.now, member.visible, limit, found)
        return found[:count]

    def exists(self, member: Member, which: int, number: int) -> bool:
        """Whether the row is still there, as ``member`` sees it."""
        return expiry.exists(self.rows[which], number, member.visible)

    # -- locks of single rows ----------------------------------------------------------------

    def lock(self, transaction: Transaction) -> Steps:
        """Lock the row that the transaction deletes, waiting for whoever deletes it at the same member.

        Raises:
            DatabaseError: the wait timed out (1205).
        """
        member, number = transaction.member, transaction.number
        locks, key = self._locks[member], expiry.key(transaction.cleans, transaction.deletes)
        if not rowlocks.acquire(locks, number, key, rowlocks.RECORD).granted:
            yield from member.waiting(number)

    def seize(self, member: Member, transaction: Transaction) -> list[int]:
        """An applier deletes the row at ``member``: the local transactions that it finds in its way."""
        locks, number = self._locks[member], -transaction.seqno
        key = expiry.key(transaction.cleans, transaction.deletes)
        if rowlocks.acquire_first(locks, number, key, rowlocks.RECORD).granted:
            return []
        return rowlocks.brute_force(locks, number, key, rowlocks.RECORD)

    def unlock(self, member: Member, number: int) -> list[int]:
        """Let go of the row locks of ``number``: who has got one now."""
        return [other for other, _ in rowlocks.release(self._locks[member], number)]

    def clear(self, member: Member) -> None:
        """The member's process died."""
        self._locks[member] = rowlocks.new_locks()

    # -- what transactions do to the rows ----------------------------------------------------

    def commits(self, transaction: Transaction, call: Call) -> bool:
        """A transaction says what it inserts and deletes before it commits; False: nothing to write."""
        member = transaction.member
        if transaction.cleans:
            if not self.exists(member, transaction.cleans, transaction.deletes):
                return False
            if transaction.cleans == TOKENS:
                transaction.rows = -expiry.scopes_of(self.rows[TOKENS], transaction.deletes)
            return True
        transaction.issues = self._issues[call.kind]
        presented = call.tokens.access
        number = presented.issued if presented is not None and self._replaces[call.kind] else 0
        if number and self.exists(member, TOKENS, number):
            transaction.deletes = number
        return True

    def loses(self, transaction: Transaction) -> bool:
        """Whether another member's delete of the same row was ordered since the transaction looked."""
        rows, deleted = self.rows[transaction.cleans or TOKENS], transaction.deletes
        return deleted > 0 and expiry.loses(
            rows, deleted, transaction.last_seen, self._places[transaction.member]
        )

    def ordered(self, transaction: Transaction) -> None:
        """The transaction has its place in the order and will be committed everywhere."""
        for which, rows in self.rows.items():
            if expiry.is_full(rows):
                self.rows[which] = expiry.longer(rows)
        transaction.issued = expiry.ordered(
            self.rows[TOKENS],
            self.rows[HOLDERS],
            transaction.seqno,
            self._database.world.env.now,
            self._places[transaction.member],
            transaction.cleans,
            transaction.deletes,
            transaction.issues,
            transaction.rows,
            self._lifetime,
        )
