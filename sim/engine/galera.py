"""A Galera cluster: ordering, certification, applying, and what a commit waits for.

The mechanisms are in sim.protocols (evs, certification, rowlocks, flowcontrol, membership); here
they get links, CPUs and clocks. The path of a write set (components.md 1.1): ordered by EVS,
certified by everyone alike, applied on the other members in order by `wsrep_slave_threads`, made
durable by group commit. A client is answered after the local commit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from sim.engine.cluster import FLOW_CONTROL, TRANSACTIONS, Group
from sim.engine.database import Database, DatabaseError, Member, Transaction
from sim.engine.galera_member import GaleraMember
from sim.engine.world import World
from sim.program import VPN
from sim.protocols import certification, evs, flowcontrol, membership

Steps = Generator[simpy.Event, Any, Any]


class Galera(Database):
    """The cluster.

    Attributes:
        history: all ordered transactions; the one with seqno s stands at s - 1.
        passed: by seqno, whether certification passed.
        depends: by seqno, the seqno that must be visible before it may be applied.
    """

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        super().__init__(world)
        components = [c for c in world.program.components if c.service == name]
        self.slave_threads: int = settings["slave_threads"]
        self.fc_limit: int = settings["fc_limit"]
        self.sync_wait: int = settings["sync_wait"]
        count = len(components)
        self.galera_members = [GaleraMember(world, c, self, i, count) for i, c in enumerate(components)]
        self.members = list(self.galera_members)
        self.history: list[Transaction] = []
        self.passed: list[bool] = [True]
        self.depends: list[int] = [0]
        self.by_number: dict[int, Transaction] = {}
        self._certification = certification.new_index()
        self._tickets: dict[int, simpy.Event] = {}
        self.flow = flowcontrol.new_flow(count, self.fc_limit)
        self.group = Group(world, self, settings)

    # -- what services use -------------------------------------------------------------------

    def member_for(self, site: int, index: int) -> Member:
        """The member of the site (services spread over several), else the nearest by round trip."""
        here = [member for member in self.members if member.site == site]
        if here:
            return here[index % len(here)]
        network = self.world.network
        return min(self.members, key=lambda member: (network.rtt(0, site, member.site), member.name))

    def is_ready(self, member: Member) -> bool:
        """Part of a primary component, and caught up with it."""
        assert isinstance(member, GaleraMember)
        return self.group.is_ready(member.index)

    def commit(self, transaction: Transaction, size: int) -> Steps:
        """Replicate and commit ``transaction`` with a write set of ``size`` bytes."""
        member = transaction.member
        assert isinstance(member, GaleraMember)
        env = self.world.env
        while not self.group.can_send(member.index) or flowcontrol.is_paused(self.flow, member.index):
            member.check()
            yield member.changed
        member.check()
        transaction.state = certification.REPLICATING
        transaction.last_seen = member.visible
        transaction.size = size
        transaction.answer = env.event()
        self.by_number[transaction.number] = transaction
        payload = 2 * transaction.number + TRANSACTIONS
        while not self.group.submit(member.index, payload, size):
            yield env.timeout(evs.RETRY_PERIOD)
            member.check()
        outcome: bool | None = yield transaction.answer
        if outcome is None:
            raise DatabaseError("unavailable", in_doubt=True)
        if not outcome:
            raise DatabaseError("conflict")

    def causal(self, member: Member) -> Steps:
        """`wsrep_sync_wait` for reads (bit 1)."""
        if not self.sync_wait & 1:
            return
        assert isinstance(member, GaleraMember)
        while not self.group.can_send(member.index):
            # Asked again and again until there is a view (evs handle_down in GATHER: EAGAIN).
            member.check()
            yield member.changed
        member.check()
        ticket = self.next_number()
        event = self._tickets[ticket] = self.world.env.event()
        self.group.causal_read(member.index, ticket)
        if not event.triggered:
            yield event
        self._tickets.pop(ticket, None)
        reached = member.received
        while member.visible < reached:
            member.check()
            yield self.world.env.timeout(0.0005)

    # -- what the group tells ----------------------------------------------------------------

    def delivered(self, index: int, payload: int) -> None:
        """An application payload was delivered in total order at member ``index``."""
        member = self.galera_members[index]
        number, kind = divmod(payload, 2)
        if kind == FLOW_CONTROL:
            sender, stop = divmod(number, 2)
            flowcontrol.ordered(self.flow, index, sender, bool(stop))
            if not stop:
                member.notify()
            return
        transaction = self.by_number[number]
        if not transaction.seqno:
            self._certify(transaction)
        if member.target > member.received:
            # It waits in the receive queue for what IST brings, which does not come through that queue.
            member.ordered = transaction.seqno
        elif member.received < transaction.seqno:
            if transaction.member is member:
                transaction.state = certification.ORDERED
                if transaction.replay:
                    member.let_go(transaction)
            member.enqueue(transaction)

    def _certify(self, transaction: Transaction) -> None:
        """Give the write set its seqno and its verdict, which every member comes to alike."""
        self.history.append(transaction)
        transaction.seqno = len(self.history)
        member = transaction.member
        assert isinstance(member, GaleraMember)
        # New rows only: their fresh auto-increment and random keys are in no other write set, so what
        # certification can see is the foreign-key parents they share (T2).
        write_set = certification.WriteSet(
            member.index,
            transaction.last_seen,
            (certification.key(0, certification.REFERENCE),),
        )
        verdict = certification.certify(self._certification, write_set, transaction.seqno)
        passed = verdict.ok
        if self.clean_up is not None:
            passed = passed and not self.clean_up.loses(transaction)
            if passed:
                self.clean_up.ordered(transaction)
        self.passed.append(passed)
        self.depends.append(verdict.depends)
        transaction.committed = passed
        if transaction.seqno % 256 == 0:
            certification.purge(self._certification, min(m.visible for m in self.galera_members))

    def causal_point(self, ticket: int) -> None:
        """A causal read may go on."""
        event = self._tickets.get(ticket)
        if event is not None and not event.triggered:
            event.succeed()

    def lost_quorum(self, index: int) -> None:
        """The member turned non-primary: commits in flight fail with 1180, their outcome open."""
        member = self.galera_members[index]
        member.target = -1
        for transaction in list(member.transactions.values()):
            answer = transaction.answer
            arrived = 0 < transaction.seqno <= member.received
            if answer is not None and not answer.triggered and not arrived:
                member.end(transaction)
                answer.succeed(None)
        member.notify()

    def joining(self, index: int) -> None:
        """The member is in a primary component: it serves once it has what it missed (IST)."""
        member = self.galera_members[index]
        if member.target >= 0:
            return  # on its way
        member.target = target = len(self.history)
        self.flow.desynced[index] = 1
        if member.visible >= target:
            self._synced(member)
            return
        missing = sum(entry.size for entry in self.history[member.received :])
        donors = [m for m in self.galera_members if m is not member and self.is_ready(m)]
        network = self.world.network
        rtt = min((network.rtt(VPN, member.site, donor.site) for donor in donors), default=0.0)
        transfer = membership.state_transfer(missing, 0.0, 1e9, rtt, position_known=True)
        self.world.at(transfer.seconds, lambda: self._transferred(member, target))

    def _transferred(self, member: GaleraMember, target: int) -> None:
        if member.up and member.target == target:
            member.enqueue(self.history[max(target, member.ordered) - 1])

    def _synced(self, member: GaleraMember) -> None:
        member.target = -1
        flowcontrol.joined(self.flow, member.index, member.queue_length())
        self.group.synced(member.index)
        member.notify()

    def reached(self, member: GaleraMember) -> None:
        """The member has made another write set visible."""
        if 0 <= member.target <= member.visible:
            self._synced(member)

    def view_changed(self, index: int, members: int) -> None:
        """Member ``index`` enters a view of so many: its flow control starts afresh."""
        flowcontrol.entered(self.flow, index, *flowcontrol.limits(members, self.fc_limit))

    def queue_changed(self, member: GaleraMember) -> None:
        """Compare the receive queue with flow control's limits."""
        change = flowcontrol.queue_changed(self.flow, member.index, member.queue_length())
        if change != flowcontrol.NOTHING:
            # Sent by a thread of its own, not from the midst of the delivery that made it necessary.
            stop = change == flowcontrol.STOP
            self.world.at(0.0, lambda: self._tell(member, stop))

    def _tell(self, member: GaleraMember, stop: bool) -> None:
        """Broadcast STOP or CONTINUE, unless the view for which it was meant has ended or is ending."""
        index = member.index
        if self.flow.sent[index] != stop:
            return
        if not self.group.can_send(index):
            self.flow.sent[index] = 0
        else:
            number = 2 * index + stop
            self.group.submit(index, 2 * number + FLOW_CONTROL, flowcontrol.STOP_BYTES)

    def lock_granted(self, member: Member, number: int) -> None:
        """A lock for an applier."""
        assert isinstance(member, GaleraMember)
        member.granted(number)

    # -- faults ------------------------------------------------------------------------------

    def kill(self, member: Member, graceful: bool) -> None:
        """SIGKILL, or SIGTERM which says goodbye first."""
        assert isinstance(member, GaleraMember)
        if graceful:
            self.group.leave(member.index)
        else:
            self.group.crash(member.index)
        for transaction in member.transactions.values():
            transaction.answer = None  # nobody is left to be told
        member.kill()
        member.forget()

    def started(self, member: Member) -> None:
        """The process runs again, knows its position and looks for its peers."""
        assert isinstance(member, GaleraMember)
        member.target = -1
        member.start()
        self.group.start(member.index)

    def start_time(self, member: Member) -> float:
        """Seconds until the process calls its peers: the measured rejoin less what is modelled from there on.

        That is meeting the peers, agreeing on a view and asking for the missing write sets: half a
        reconnect period, a retransmission period and about 12 round trips (sim.protocols.membership).
        """
        network = self.world.network
        rtt = max(network.rtt(VPN, member.site, other.site) for other in self.members)
        timers = self.group.timers
        modelled = 0.5 * timers.reconnect_period + timers.join_retrans_period + 12 * rtt
        return max(0.0, self.world.cost("start_db_rejoin", "start", member.name) - modelled)
