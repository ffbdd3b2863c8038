"""MariaDB primary and replicas, asynchronous or semi-synchronous (sim.protocols.replication).

The identity service knows one endpoint, the primary (facts/iam.md section 6): reads go there too,
so the replicas decide only what survives and, with semi-sync, how long a commit waits.
Nothing promotes a replica by itself (components.md 2.2).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import simpy

from sim.engine.database import Database, DatabaseError, Member, Transaction
from sim.engine.world import World
from sim.program import VPN
from sim.protocols import replication, tcp

Steps = Generator[simpy.Event, Any, Any]

ACKNOWLEDGEMENT_BYTES = 60


class Replication(Database):
    """The primary with its replicas."""

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        super().__init__(world)
        components = [c for c in world.program.components if c.service == name]
        self.members = [Member(world, component, self) for component in components]
        self.primary, self.replicas = self.members[0], self.members[1:]
        self.source = replication.new_source(
            len(self.replicas), settings["semi_sync"], settings["semi_sync_timeout"]
        )
        self._flushed = settings["flush_log_at_trx_commit"] == 1
        self._log: list[Transaction] = []
        self._written_at: list[float] = []
        self._waiting: dict[int, simpy.Event] = {}
        self._streaming = [False] * len(self.replicas)
        self._cut_at: list[float | None] = [None] * len(self.replicas)
        world.network.listen(self._links_changed)

    def member_for(self, site: int, index: int) -> Member:
        """Always the primary."""
        return self.primary

    def is_ready(self, member: Member) -> bool:
        """A plain server needs nobody else."""
        return True

    def sees(self, member: Member, transaction: Transaction) -> bool:
        """All reads go to the primary: what was committed there is seen."""
        return transaction.committed

    def commit(self, transaction: Transaction, size: int) -> Steps:
        """Flush, then wait for an acknowledgement if semi-sync asks for one."""
        env, primary = self.world.env, self.primary
        primary.check()
        transaction.size = size
        flushed = env.event()
        primary.flusher.flush(flushed.succeed)
        yield flushed
        transaction.committed = True
        primary.token_scope_rows = max(0, primary.token_scope_rows + transaction.rows)
        self._log.append(transaction)
        self._written_at.append(env.now)
        written = replication.write(self.source, env.now)
        transaction.seqno = primary.visible = written.position
        if self.clean_up is not None:
            self.clean_up.ordered(transaction)
        primary.end(transaction)
        for index in range(len(self.replicas)):
            self._stream(index)
        if written.waits_until > env.now:
            answered = self._waiting[written.position] = env.event()
            yield env.any_of([answered, env.timeout(written.waits_until - env.now)])
            if not answered.triggered:
                self._answer(replication.timed_out(self.source, written.position))
            self._waiting.pop(written.position, None)
        if not primary.up:
            raise DatabaseError("unavailable", in_doubt=True)

    # -- the replicas' IO and SQL threads ----------------------------------------------------

    def _blocked(self, index: int) -> bool:
        here, there = self.primary.site, self.replicas[index].site
        blocked = self.world.network.blocked[VPN]
        return blocked[here][there] or blocked[there][here]

    def _stream(self, index: int) -> None:
        """Send what the replica has not got, unless that is under way."""
        if not self._streaming[index] and self.source.connected[index]:
            self._streaming[index] = True
            self.world.env.process(self._send(index))

    def _send(self, index: int) -> Steps:
        network, env = self.world.network, self.world.env
        replica, source = self.replicas[index], self.source
        here, there = self.primary.site, replica.site
        sent = source.received[index]
        while sent < source.position and source.connected[index] and replica.up and self.primary.up:
            yield from self.primary.until_running()
            if self._blocked(index):
                yield from self._until_open(index)
                continue
            last = source.position
            size = sum(transaction.size for transaction in self._log[sent:last])
            delay = network.delay(VPN, here, there, size)
            self.world.at(delay, partial(self._received, index, sent + 1, last))
            sent = last
            yield env.timeout(0.0)  # events written meanwhile follow at once
        self._streaming[index] = False

    def _until_open(self, index: int) -> Steps:
        """Wait until packets pass in both directions and TCP has sent again."""
        network, env = self.world.network, self.world.env
        sent = env.now
        first = tcp.rto(network.rtt(VPN, self.primary.site, self.replicas[index].site))
        while self._blocked(index):
            yield network.changed()
        again = tcp.resumed_after(sent, env.now, first)
        if again > env.now:
            yield env.timeout(min(again - env.now, 1e6))

    def _received(self, index: int, first: int, last: int) -> None:
        replica = self.replicas[index]
        if not replica.up:
            return
        if replica.paused:
            self.world.env.process(self._received_later(index, first, last))
            return
        now = self.world.env.now
        if replication.received(self.source, index, last) and not self._blocked(index):
            delay = self.world.network.delay(VPN, replica.site, self.primary.site, ACKNOWLEDGEMENT_BYTES)
            self.world.at(delay, lambda: self._answer(replication.acknowledged(self.source, index, last)))
        for position in range(first, last + 1):
            cost = replica.apply_cost(self._log[position - 1])
            cost += self.world.cost("local_commit", "apply.commit", replica.name)
            done = replication.apply(self.source, index, position, cost, now)
            self.world.at(done - now, partial(self._visible, index, position))

    def _received_later(self, index: int, first: int, last: int) -> Steps:
        yield from self.replicas[index].until_running()
        self._received(index, first, last)

    def _visible(self, index: int, position: int) -> None:
        replication.visible(self.source, index, position)
        self.replicas[index].visible = self.source.applied[index]

    def _answer(self, positions: list[int]) -> None:
        for position in positions:
            event = self._waiting.get(position)
            if event is not None and not event.triggered:
                event.succeed()

    # -- faults ------------------------------------------------------------------------------

    def _links_changed(self) -> None:
        now = self.world.env.now
        for index in range(len(self.replicas)):
            cut_at = self._cut_at[index]
            if self._blocked(index):
                if cut_at is None:
                    self._cut_at[index] = now
            elif cut_at is not None:
                self._cut_at[index] = None
                phase = (
                    replication.NET_TIMEOUT
                    / 2
                    * self.world.streams.get("replication", "phase").uniform(index)
                )
                if now - cut_at + phase > replication.NET_TIMEOUT:
                    replication.disconnected(self.source, index)
                    at = replication.reconnect_at(cut_at, now, phase)
                    self.world.at(max(0.0, at - now), partial(self._reconnect, index))
                else:
                    self._stream(index)

    def _reconnect(self, index: int) -> None:
        if self._blocked(index) or not (self.primary.up and self.replicas[index].up):
            return
        replication.reconnected(self.source, index)
        self._stream(index)

    def kill(self, member: Member, graceful: bool) -> None:
        """End a process. What the primary had not flushed is lost (flush_log_at_trx_commit)."""
        if member is self.primary and not graceful and not self._flushed:
            now = self.world.env.now
            for transaction, written in zip(self._log, self._written_at, strict=True):
                # The log goes to disk once per second.
                if now - written < 1.0 and not any(
                    received >= transaction.seqno for received in self.source.received
                ):
                    transaction.survived = False
        member.kill()

    def started(self, member: Member) -> None:
        """The process runs again; the replicas' IO threads connect anew at once (connection was reset)."""
        member.start()
        for index, replica in enumerate(self.replicas):
            if member in (self.primary, replica):
                self._streaming[index] = False
                self._reconnect(index)
