"""A member of a Galera cluster: its queue of ordered write sets, applying, and whom that aborts.

Applied in order by `wsrep_slave_threads`, made durable by group commit (components.md 1.1).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from sim.engine.database import Member, Transaction
from sim.engine.world import World
from sim.protocols import certification, rowlocks

if TYPE_CHECKING:
    from sim.engine.galera import Galera

WAITING, APPLYING, APPLIED = range(3)


class Slot:
    """A write set in a member's queue."""

    __slots__ = ("local", "state", "transaction")

    def __init__(self, transaction: Transaction, local: bool, passed: bool) -> None:
        self.transaction = transaction
        self.local = local
        self.state = APPLIED if local or not passed else WAITING


class GaleraMember(Member):
    """A member with its queue of ordered write sets.

    Attributes:
        received: last seqno that entered the queue.
        target: seqno that must be visible before a joining member serves; -1 when it is not joining.
        ordered: last seqno that was ordered while the member waited for what comes before (IST).
    """

    def __init__(self, world: World, component: Any, database: Galera, index: int, members: int) -> None:
        super().__init__(world, component, database, index, members)
        self.index = index
        self.cluster = database
        self.queue: deque[Slot] = deque()
        self.received = 0
        self.target = -1
        self.ordered = 0
        self.applying = 0
        self.changed = world.env.event()

    def notify(self) -> None:
        """Wake commits that wait for a view or for flow control."""
        happened, self.changed = self.changed, self.world.env.event()
        happened.succeed()

    def queue_length(self) -> int:
        """Length of the receive queue: write sets that no applier has taken yet."""
        return sum(1 for slot in self.queue if slot.state == WAITING)

    def enqueue(self, transaction: Transaction) -> None:
        """Take an ordered write set in; those missed while away come first (IST)."""
        history = self.cluster.history
        while self.received < transaction.seqno:
            entry = history[self.received]
            self.received += 1
            local = entry.member is self and entry.answer is not None and not entry.answer.triggered
            self.queue.append(Slot(entry, local, self.cluster.passed[entry.seqno]))
        self.pump()
        self.cluster.queue_changed(self)

    def pump(self) -> None:
        """Start what may be applied and commit what is next in order."""
        while self.queue and self.queue[0].state == APPLIED:
            self._commit(self.queue.popleft())
        threads = self.cluster.slave_threads
        for slot in self.queue:
            if self.applying >= threads:
                return
            if slot.state == WAITING:
                if threads > 1 and self.cluster.depends[slot.transaction.seqno] > self.visible:
                    return
                self._apply(slot)

    def _apply(self, slot: Slot) -> None:
        slot.state = APPLYING
        self.applying += 1
        self.cpu.submit(self.apply_cost(slot.transaction), lambda: self._place(slot), self)

    def _place(self, slot: Slot) -> None:
        """The rows of the token come last: what has locked their places is in the way."""
        transaction = slot.transaction
        self._clear_gaps(transaction)
        self.gaps.arrive(transaction)
        number, resource = -transaction.seqno, transaction.resource
        # First in the queue, then clear the way: a lock let go must not slip to the next in line.
        free = resource < 0 or rowlocks.acquire_first(self.locks, number, resource, rowlocks.INSERT).granted
        if transaction.cleans and self.cluster.clean_up is not None:
            for victim in self.cluster.clean_up.seize(self, transaction):
                self._clear(victim, transaction.seqno)
        if free:
            self._applied(slot)
        else:
            self._clear_token_scope(transaction)

    def _applied(self, slot: Slot) -> None:
        slot.state = APPLIED
        self.pump()

    def _clear_gaps(self, applied: Transaction) -> None:
        for local in self.gaps.met(applied, self.transactions.values()):
            self._brute_force(local, applied.seqno)

    def _clear_token_scope(self, applied: Transaction) -> None:
        number, resource = -applied.seqno, applied.resource
        if resource >= 0:
            for victim in rowlocks.brute_force(self.locks, number, resource, rowlocks.INSERT):
                self._clear(victim, applied.seqno)

    def _clear(self, victim: int, seqno: int) -> None:
        local = self.transactions.get(victim)
        if local is not None:
            self._brute_force(local, seqno)

    def _brute_force(self, local: Transaction, seqno: int) -> None:
        # A write set that is on the wire cannot be called back: it counts as ordered, later than ours.
        fate = certification.brute_force(
            certification.ORDERED if local.state == certification.REPLICATING else local.state,
            local.seqno or seqno + 1,
            seqno,
        )
        if fate == certification.REPLAY:
            local.replay = True
            # On the wire it cannot roll back before it has its place (galera replicator_smm.cpp, abort_trx).
            if local.state == certification.ORDERED:
                self.let_go(local)
        elif fate == certification.ROLLBACK:
            self.abort(local)

    def let_go(self, local: Transaction) -> None:
        """A transaction that will be replayed has rolled back."""
        self.gaps.end(local)
        self.unlock(local.number)

    def granted(self, number: int) -> None:
        """The lock an applier waited for is there."""
        self.world.at(0.0, lambda: self._go_on(-number))

    def _go_on(self, seqno: int) -> None:
        for slot in self.queue:
            if slot.state == APPLYING and slot.transaction.seqno == seqno:
                self._applied(slot)
                return

    def _commit(self, slot: Slot) -> None:
        transaction = slot.transaction
        seqno = transaction.seqno
        passed = self.cluster.passed[seqno]
        local = slot.local
        if local and transaction.replay and passed:
            # Replay: the write set is applied like a foreign one before the client gets its OK.
            transaction.replay = False
            self.cpu.submit(self.apply_cost(transaction), lambda: self._replayed(transaction), self)
            return
        if not passed:
            self._committed(transaction, local)
            return
        self.flusher.flush(lambda: self._committed(transaction, local))

    def _replayed(self, transaction: Transaction) -> None:
        self._clear_gaps(transaction)
        self._clear_token_scope(transaction)
        self.flusher.flush(lambda: self._committed(transaction, True))

    def _committed(self, transaction: Transaction, local: bool) -> None:
        seqno = transaction.seqno
        self.visible = max(self.visible, seqno)
        if self.cluster.passed[seqno]:
            self.token_scope_rows = max(0, self.token_scope_rows + transaction.rows)
        if not local:
            if self.cluster.passed[seqno]:
                self.applying = max(0, self.applying - 1)
                self.unlock(-seqno)
        elif transaction.answer is not None and not transaction.answer.triggered:
            self.end(transaction)
            transaction.answer.succeed(self.cluster.passed[seqno])
        self.cluster.queue_changed(self)
        self.cluster.reached(self)
        self.pump()

    def forget(self) -> None:
        """The process died: the queue is gone; what was ordered comes back by state transfer."""
        self.queue.clear()
        self.target = -1
        self.applying = 0
        self.received = self.visible
