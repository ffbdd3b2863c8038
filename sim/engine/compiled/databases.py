"""Databases as the control plane sees them: members, clusters, a primary with its replicas."""

from __future__ import annotations

from functools import partial
from typing import Any

from sim.engine.compiled import events, galera, replication
from sim.engine.compiled import layout as w
from sim.engine.compiled.control import KernelGroup
from sim.engine.compiled.processes import Daemon, World
from sim.program import VPN, Component
from sim.protocols import evs, flowcontrol, gaps, membership
from sim.protocols import replication as protocol

HISTORY = 1 << 13
"""Places of the ring of ordered transactions to begin with."""


class Member(Daemon):
    """A database server."""

    links = w.C_MI_NEXT

    def __init__(self, world: World, component: Component, database: Database, index: int) -> None:
        super().__init__(world, component)
        self.database = database
        self.index = index
        memory, here = self.memory, self.record
        memory.i64[here + w.B_DATABASE] = database.record
        memory.i64[here + w.B_INDEX] = index
        memory.i64[here + w.B_TARGET] = -1
        memory.i64[here + w.B_CONNECTED] = 1
        rows = [data.get("token_scope_rows", 0) for data in world.program.services.values()]
        memory.i64[here + w.B_TOKEN_ROWS] = max(rows, default=0)
        page_rows = int(world.program.arrays["page_rows"][0])
        memory.i64[here + w.B_PAGE_ROWS] = page_rows
        memory.i64[here + w.B_EDGE] = memory.ints([n for part in gaps.new_edge(page_rows) for n in part])
        memory.i64[here + w.B_FAMILIES] = memory.ints([key for part in gaps.new_families() for key in part])
        memory.i64[here + w.B_FLUSH_STREAM] = memory.stream("flush", component.name)
        memory.i64[here + w.B_APPLY_STREAM] = memory.stream("apply", component.name)
        memory.i64[here + w.B_COMMIT_STREAM] = memory.stream("apply.commit", component.name)

    @property
    def visible(self) -> int:
        """Every transaction up to this seqno can be read here."""
        return int(self.memory.i64[self.record + w.B_VISIBLE])

    def accepting(self) -> bool:
        """Whether a new connection would be accepted."""
        return self.answering

    def serving(self) -> bool:
        """Whether a statement that reads a table would be answered."""
        return self.accepting() and bool(galera.is_ready(self.memory.i64, self.memory.f64, self.record))

    def notify(self) -> None:
        """Wake commits that wait for a view or for flow control."""
        events.broadcast(self.memory.i64, self.memory.f64, self.record + w.B_CHANGED_HEAD)

    def kill(self) -> None:
        """The server dies: open transactions are gone, sessions broken."""
        if not self.up:
            return
        galera.forget_state(self.memory.i64, self.memory.f64, self.record)
        super().kill()


class Database:
    """What clusters and primaries have in common."""

    def __init__(self, world: World, name: str, settings: dict[str, Any], *, clustered: bool) -> None:
        self.world = world
        self.memory = memory = world.memory
        self.record = here = memory.block(w.E_WORDS)
        components = [c for c in world.program.components if c.service == name]
        count = len(components)
        memory.i64[here + w.E_GALERA] = clustered
        memory.i64[here + w.E_COUNT] = count
        memory.i64[here + w.E_EVERYBODY] = (1 << count) - 1
        memory.i64[here + w.E_HISTORY] = memory.block(HISTORY)
        memory.i64[here + w.E_HISTORY_MASK] = HISTORY - 1
        self.members = [Member(world, component, self, index) for index, component in enumerate(components)]
        memory.i64[here + w.E_MEMBERS] = memory.ints([member.record for member in self.members])

    def member_for(self, site: int, index: int) -> Member:
        """The member that a service at ``site`` uses."""
        raise NotImplementedError

    def kill(self, member: Member, graceful: bool) -> None:
        """End a member's process."""
        raise NotImplementedError

    def started(self, member: Member) -> None:
        """A member's process runs again."""
        raise NotImplementedError

    def start_time(self, member: Member) -> float:
        """Seconds from starting the member's process until it listens."""
        return self.world.cost("start_db", "start", member.name)


class Cluster(Database):
    """A Galera cluster."""

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        super().__init__(world, name, settings, clustered=True)
        self.galera_members = self.members
        memory, here, count = self.memory, self.record, len(self.members)
        self._fc_limit: int = settings["fc_limit"]
        lower, upper = flowcontrol.limits(count, self._fc_limit)
        values = {
            w.E_SYNC_WAIT: settings["sync_wait"],
            w.E_SLAVE_THREADS: settings["slave_threads"],
            w.E_FLOW_LOWER: memory.ints([lower] * count),
            w.E_FLOW_UPPER: memory.ints([upper] * count),
            w.E_FLOW_SENT: memory.ints([0] * count),
            w.E_FLOW_OFFSET: memory.ints([0] * count),
            w.E_FLOW_DESYNCED: memory.ints([0] * count),
            w.E_FLOW_STOPPED: memory.ints([0] * (count * count)),
            w.E_COUNTS: memory.ints([0, 0, 0]),
            w.E_SENDS: memory.block(7 * evs.PAYLOADS),
            w.E_DELIVERIES: memory.block(3 * evs.PAYLOADS * count),
            w.E_CAUSAL: memory.block(evs.PAYLOADS),
        }
        for word, value in values.items():
            memory.i64[here + word] = value
        self.group = KernelGroup(world, self, settings)

    def member_for(self, site: int, index: int) -> Member:
        """The member of the site (services spread over several), else the nearest by round trip."""
        here = [member for member in self.members if member.site == site]
        if here:
            return here[index % len(here)]
        network = self.world.network
        return min(self.members, key=lambda member: (network.rtt(0, site, member.site), member.name))

    # -- what the group tells ----------------------------------------------------------------

    def delivered(self, index: int, payload: int) -> None:
        """An application payload was delivered in total order at member ``index``."""
        galera.delivered(self.memory.i64, self.memory.f64, self.record, index, payload)

    def causal_point(self, ticket: int) -> None:
        """A causal read may go on."""
        galera.causal_point(self.memory.i64, self.memory.f64, ticket)

    def lost_quorum(self, index: int) -> None:
        """The member turned non-primary."""
        galera.lost_quorum(self.memory.i64, self.memory.f64, self.members[index].record)

    def joining(self, index: int) -> None:
        """The member is in a primary component: it serves once it has what it missed (IST)."""
        member, memory = self.members[index], self.memory
        here = member.record
        if memory.i64[here + w.B_TARGET] >= 0:
            return  # on its way
        memory.i64[here + w.B_TARGET] = target = int(memory.i64[self.record + w.E_HISTORY_LEN])
        memory.i64[memory.i64[self.record + w.E_FLOW_DESYNCED] + index] = 1
        if member.visible >= target:
            galera.synced(memory.i64, memory.f64, here)
            return
        missing = galera.missing_bytes(memory.i64, memory.f64, here)
        donors = [
            m for m in self.members if m is not member and galera.is_ready(memory.i64, memory.f64, m.record)
        ]
        network = self.world.network
        rtt = min((network.rtt(VPN, member.site, donor.site) for donor in donors), default=0.0)
        transfer = membership.state_transfer(int(missing), 0.0, 1e9, rtt, position_known=True)
        self.world.at(transfer.seconds, lambda: self._transferred(member, target))

    def _transferred(self, member: Member, target: int) -> None:
        memory, here = self.memory, member.record
        if member.up and memory.i64[here + w.B_TARGET] == target:
            last = max(target, int(memory.i64[here + w.B_ORDERED]))
            galera.enqueue(memory.i64, memory.f64, here, last)

    def view_changed(self, index: int, members: int) -> None:
        """Member ``index`` enters a view of so many: its flow control starts afresh."""
        lower, upper = flowcontrol.limits(members, self._fc_limit)
        galera.view_changed(self.memory.i64, self.memory.f64, self.members[index].record, lower, upper)

    # -- what the kernels leave to Python ------------------------------------------------------

    def submit(self, index: int, payload: int, size: int) -> bool:
        """Broadcast an application payload where control payloads are under way."""
        return self.group.submit(index, payload, size)

    # -- faults ------------------------------------------------------------------------------

    def kill(self, member: Member, graceful: bool) -> None:
        """SIGKILL, or SIGTERM which says goodbye first."""
        if graceful:
            self.group.leave(member.index)
        else:
            self.group.crash(member.index)
        galera.forget_answers(self.memory.i64, self.memory.f64, member.record)
        member.kill()
        galera.forget_queue(self.memory.i64, self.memory.f64, member.record)

    def started(self, member: Member) -> None:
        """The process runs again, knows its position and looks for its peers."""
        self.memory.i64[member.record + w.B_TARGET] = -1
        member.start()
        self.group.start(member.index)

    def start_time(self, member: Member) -> float:
        """Seconds until the process calls its peers (see `sim.engine.galera`)."""
        network = self.world.network
        rtt = max(network.rtt(VPN, member.site, other.site) for other in self.members)
        timers = self.group.timers
        modelled = 0.5 * timers.reconnect_period + timers.join_retrans_period + 12 * rtt
        return max(0.0, self.world.cost("start_db_rejoin", "start", member.name) - modelled)


class Primary(Database):
    """A primary with its replicas."""

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        super().__init__(world, name, settings, clustered=False)
        self.primary, self.replicas = self.members[0], self.members[1:]
        self._flushed = settings["flush_log_at_trx_commit"] == 1
        self._cut_at: list[float | None] = [None] * len(self.replicas)
        memory, here = self.memory, self.record
        memory.i64[here + w.E_SEMI_SYNC] = settings["semi_sync"]
        memory.f64[here + w.E_SEMI_TIMEOUT] = settings["semi_sync_timeout"]
        memory.i64[here + w.E_ACTIVE] = settings["semi_sync"] and bool(self.replicas)
        world.network.listen(self._links_changed)

    def member_for(self, site: int, index: int) -> Member:
        """Always the primary."""
        return self.primary

    def _stream(self, index: int) -> None:
        replication.stream(self.memory.i64, self.memory.f64, self.replicas[index].record)

    def _blocked(self, index: int) -> bool:
        return bool(replication.cut_off(self.memory.i64, self.memory.f64, self.replicas[index].record))

    def _links_changed(self) -> None:
        now = self.world.env.now
        for index, replica in enumerate(self.replicas):
            cut_at = self._cut_at[index]
            if self._blocked(index):
                if cut_at is None:
                    self._cut_at[index] = now
            elif cut_at is not None:
                self._cut_at[index] = None
                phase = (
                    protocol.NET_TIMEOUT / 2 * self.world.streams.get("replication", "phase").uniform(index)
                )
                if now - cut_at + phase > protocol.NET_TIMEOUT:
                    self.memory.i64[replica.record + w.B_CONNECTED] = 0
                    at = protocol.reconnect_at(cut_at, now, phase)
                    self.world.at(max(0.0, at - now), partial(self._reconnect, index))
                else:
                    self._stream(index)

    def _reconnect(self, index: int) -> None:
        replica = self.replicas[index]
        if self._blocked(index) or not (self.primary.up and replica.up):
            return
        self.memory.i64[replica.record + w.B_CONNECTED] = 1
        self._stream(index)

    def kill(self, member: Member, graceful: bool) -> None:
        """End a process. What the primary had not flushed is lost (flush_log_at_trx_commit)."""
        if member is self.primary and not graceful and not self._flushed:
            replication.lose_unflushed(self.memory.i64, self.memory.f64, self.record)
        member.kill()

    def started(self, member: Member) -> None:
        """The process runs again; the replicas' IO threads connect anew at once (connection was reset)."""
        member.start()
        for index, replica in enumerate(self.replicas):
            if member in (self.primary, replica):
                self.memory.i64[replica.record + w.B_STREAMING] = 0
                self._reconnect(index)
