"""A Galera group's membership and connections: the reference's code over the kernels' tables.

In a view that stands the kernels carry the total order by themselves. They hand over to Python what
concerns membership: control messages and payloads, messages of other views, timers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.engine.cluster import Group, View
from sim.engine.compiled import events, order
from sim.engine.compiled import layout as w
from sim.engine.compiled.memory import Table
from sim.engine.links import Connections, Parcel
from sim.protocols import evs, membership
from sim.protocols.tables import members_of

if TYPE_CHECKING:
    from sim.engine.compiled.databases import Cluster
    from sim.engine.compiled.processes import World

_INTS = (
    ("held", w.V_HELD, 0),
    ("known_aru", w.V_KNOWN_ARU, 0),
    ("last_sent", w.V_LAST_SENT, 1),
    ("delivered", w.V_DELIVERED, 1),
    ("sent", w.V_SENT, 1),
    ("submitted", w.V_SUBMITTED, 1),
    ("queued_bytes", w.V_QUEUED, 1),
    ("unanswered_bytes", w.V_UNANSWERED, 1),
    ("slot_first", w.V_SLOT_FIRST, evs.SLOTS),
    ("slot_count", w.V_SLOT_COUNT, evs.SLOTS),
    ("payload", w.V_PAYLOAD, evs.PAYLOADS),
    ("size", w.V_BYTES, evs.PAYLOADS),
    ("causal_at", w.V_CAUSAL_AT, evs.PAYLOADS),
    ("causal_ticket", w.V_CAUSAL_TICKET, evs.PAYLOADS),
    ("causal_head", w.V_CAUSAL_HEAD, 1),
    ("causal_tail", w.V_CAUSAL_TAIL, 1),
)
"""Tables of a view: name, word, places per member (0 for a matrix)."""


class Rows:
    """A matrix of the memory as a list of lists."""

    def __init__(self, memory: Any, start: int, count: int, *, real: bool = False) -> None:
        self._rows = [Table(memory, start + row * count, count, real=real) for row in range(count)]

    def __getitem__(self, row: int) -> Table:
        return self._rows[row]


class KernelView(View):
    """A view whose state lies in the memory.

    Attributes:
        record: where.
    """

    def __init__(self, world: World, number: int, mask: int, count: int, windows: tuple[int, int]) -> None:
        memory = world.memory
        members = members_of(mask)
        fresh = evs.new_view(1)  # for the values that tables begin with
        self.record = record = memory.block(w.V_WORDS)
        tables: dict[str, Any] = {}
        for name, word, places in _INTS:
            length = count * (places or count)
            start = memory.block(length)
            first = getattr(fresh, name)[0]
            if first:
                memory.i64[start : start + length] = first
            memory.i64[record + word] = start
            tables[name] = Table(memory, start, length)
        sent_at = memory.reals([fresh.causal_sent[0]] * count)
        memory.i64[record + w.V_CAUSAL_SENT] = sent_at
        memory.i64[record + w.V_MEMBERS] = memory.ints(members)
        settings = [windows[0], windows[1], 1]
        memory.i64[record + w.V_WINDOWS] = memory.ints(settings)
        memory.i64[record + w.V_DUE] = memory.ints([0] * count)
        memory.i64[record + w.V_NUMBER] = number
        memory.i64[record + w.V_MASK] = mask
        memory.i64[record + w.V_SIZE] = len(members)
        self.due = Table(memory, int(memory.i64[record + w.V_DUE]), count)
        state = evs.EvsState(
            n=count,
            members=members,
            windows=settings,
            causal_sent=Table(memory, sent_at, count, real=True),  # type: ignore[arg-type]
            **tables,
        )
        super().__init__(number, mask, state)


class Parcels:
    """Messages that wait for their links, by (sender, peer)."""

    def __init__(self, world: World, database: int, count: int) -> None:
        self._memory = world.memory
        self._start = int(world.memory.i64[database + w.E_PARCELS])
        self._count = count

    def _head(self, pair: tuple[int, int]) -> int:
        return self._start + 2 * (pair[0] * self._count + pair[1])

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return bool(self._memory.i64[self._head(pair)])

    def __getitem__(self, pair: tuple[int, int]) -> list[Any]:
        found = []
        memory = self._memory
        item = int(memory.i64[self._head(pair)])
        while item:
            message, control = int(memory.i64[item + w.N_A]), bool(memory.i64[item + w.N_B])
            found.append(Parcel(float(memory.f64[item + w.N_D]), control, message))  # type: ignore[arg-type]
            item = int(memory.i64[item])
        return found

    def pop(self, pair: tuple[int, int], default: Any = None) -> Any:
        """Take all that wait: references to messages go to the caller."""
        found = self[pair]
        if not found:
            return default
        self._clear(pair)
        return found

    def drop(self, pair: tuple[int, int]) -> None:
        """Lose all that wait."""
        memory = self._memory
        for parcel in self[pair]:
            order.forget_message(memory.i64, memory.f64, parcel.arrive)
        self._clear(pair)

    def _clear(self, pair: tuple[int, int]) -> None:
        memory, head = self._memory, self._head(pair)
        item = int(memory.i64[head])
        while item:
            after = int(memory.i64[item])
            events.give(memory.i64, memory.f64, w.FREE_NODE, item)
            item = after
        memory.i64[head] = memory.i64[head + 1] = 0

    def __setitem__(self, pair: tuple[int, int], parcels: Iterable[Any]) -> None:
        memory, kept = self._memory, list(parcels)
        staying = {parcel.arrive for parcel in kept}
        for parcel in self[pair]:
            if parcel.arrive not in staying:
                order.forget_message(memory.i64, memory.f64, parcel.arrive)
        self._clear(pair)
        for parcel in kept:
            item = events.node(memory.i64, memory.f64, parcel.arrive, int(parcel.control), 0)
            memory.f64[item + w.N_D] = parcel.sent
            events.append(memory.i64, memory.f64, self._head(pair), item)


class KernelConnections(Connections):
    """Connections between members, their state in the memory."""

    def __init__(self, world: World, members: Any, timers: membership.Timers, group: Any) -> None:
        super().__init__(world, members, timers, group)  # type: ignore[arg-type]
        memory, database, count = world.memory, group.galera.record, self._count
        self._kernel_world = world
        self._database = database
        for word, first in ((w.E_LINKED, 1), (w.E_RELAY, -1)):
            memory.i64[database + word] = memory.ints([first] * (count * count))
        memory.i64[database + w.E_LAST] = memory.reals([0.0] * (count * count))
        memory.f64[database + w.E_HANDLING] = self._handling
        memory.i64[database + w.E_UNANSWERED] = memory.reals([math.inf] * (count * count))
        memory.i64[database + w.E_PARCELS] = memory.ints([0] * (2 * count * count))
        self.linked = Rows(memory, int(memory.i64[database + w.E_LINKED]), count)  # type: ignore[assignment]
        self._relay = Rows(memory, int(memory.i64[database + w.E_RELAY]), count)  # type: ignore[assignment]
        self._last = Rows(memory, int(memory.i64[database + w.E_LAST]), count, real=True)  # type: ignore[assignment]
        unanswered = int(memory.i64[database + w.E_UNANSWERED])
        self._unanswered = Rows(memory, unanswered, count, real=True)  # type: ignore[assignment]
        self._parcels = Parcels(world, database, count)  # type: ignore[assignment]

    def carry(self, sender: int, peer: int, size: int, arrive: Callable[[], None], control: bool) -> None:
        """Bring a control message to ``peer``, after those sent to it before."""
        world = self._kernel_world
        memory = world.memory
        handle = world.handle(arrive)
        message = order.new_message(
            memory.i64, memory.f64, self._database, w.CONTROL_MESSAGE, sender, size, handle
        )
        order.carry(memory.i64, memory.f64, self._database, sender, peer, size, message, int(control))
        if memory.i64[message + w.Y_REFERENCES] == 1:
            world.drop_handle(handle)
        order.forget_message(memory.i64, memory.f64, message)

    def _deliver_at(self, sender: int, peer: int, at: float, arrive: Any) -> None:
        memory = self._kernel_world.memory
        order.deliver_at(memory.i64, memory.f64, self._database, sender, peer, float(at), int(arrive))

    def _lose(self, pair: tuple[int, int]) -> None:
        self._parcels.drop(pair)  # type: ignore[attr-defined]

    def _inbox_messages(self, index: int) -> list[int]:
        memory = self._kernel_world.memory
        head = self._members[index].record + w.B_INBOX_HEAD  # type: ignore[attr-defined]
        found = []
        item = int(memory.i64[head])
        while item:
            found.append(int(memory.i64[item + w.N_A]))
            after = int(memory.i64[item])
            events.give(memory.i64, memory.f64, w.FREE_NODE, item)
            item = after
        memory.i64[head] = memory.i64[head + 1] = 0
        return found

    def _drop_inbox(self, index: int) -> None:
        memory = self._kernel_world.memory
        for message in self._inbox_messages(index):
            order.forget_message(memory.i64, memory.f64, message)

    def _open_inbox(self, index: int) -> None:
        memory = self._kernel_world.memory
        record = self._members[index].record  # type: ignore[attr-defined]
        for message in self._inbox_messages(index):
            events.push(memory.i64, memory.f64, 0.0, w.ARRIVE, message, record)


class KernelGroup(Group):
    """Group communication of a cluster, its state in the memory."""

    def __init__(self, world: World, cluster: Cluster, settings: dict[str, Any]) -> None:
        self._memory = world.memory
        self._record = cluster.record
        self._view_at: dict[int, KernelView] = {}
        super().__init__(world, cluster, settings)  # type: ignore[arg-type]
        memory, record, group = self._memory, self._record, self.membership
        for name, word in (
            ("evs", w.E_EVS),
            ("pc", w.E_PC),
            ("prim", w.E_PRIM),
            ("synced", w.E_SYNCED),
            ("known", w.E_KNOWN),
            ("suspected", w.E_SUSPECTED),
        ):
            values = getattr(group, name)
            memory.i64[record + word] = memory.ints(values)
            setattr(group, name, Table(memory, int(memory.i64[record + word]), len(values)))
        for name, word in (
            ("heard", w.E_HEARD),
            ("check_at", w.E_CHECK_AT),
            ("retrans_at", w.E_RETRANS_AT),
            ("install_at", w.E_INSTALL_AT),
            ("last_check", w.E_LAST_CHECK),
        ):
            moments = getattr(group, name)
            memory.i64[record + word] = memory.reals(moments)
            setattr(group, name, Table(memory, int(memory.i64[record + word]), len(moments), real=True))
        memory.i64[record + w.E_ARMED] = armed = memory.reals(self._armed)
        self._armed = Table(memory, armed, self.count, real=True)  # type: ignore[assignment]
        memory.f64[record + w.E_CHECK_PERIOD] = self.timers.inactive_check_period
        memory.f64[record + w.E_KEEPALIVE_PERIOD] = self.timers.keepalive_period
        memory.f64[record + w.E_SUSPECT_TIMEOUT] = self.timers.suspect_timeout
        for index, view in enumerate(self.views):
            self._enter(index, view)

    def _connections(self) -> Connections:
        world: Any = self.world
        return KernelConnections(world, self.members, self.timers, self)

    def _new_view(self, number: int, mask: int) -> View:
        world: Any = self.world
        view = KernelView(world, number, mask, self.count, self._windows)
        self._view_at[view.record] = view
        return view

    def _enter(self, index: int, view: View) -> None:
        super()._enter(index, view)
        assert isinstance(view, KernelView)
        member: Any = self.members[index]
        self._memory.i64[member.record + w.B_VIEW] = view.record

    def _wake_later(self, index: int, at: float, delay: float) -> None:
        memory = self._memory
        member: Any = self.members[index]
        bits = int(np.float64(at).view(np.int64))
        events.push(memory.i64, memory.f64, float(delay), w.MEMBER_TIMER, member.record, bits)

    def expired(self, index: int, bits: int) -> None:
        """A timer that the kernels leave to Python."""
        self._wake(index, float(np.int64(bits).view(np.float64)))

    def _submit_control(self, view: View, index: int, payload: int) -> None:
        assert isinstance(view, KernelView)
        for member in view.state.members:
            view.due[member] += 1
        super()._submit_control(view, index, payload)

    def _evs_step(self, view: View, index: int, step: evs.Step) -> None:
        assert isinstance(view, KernelView)
        memory, record = self._memory, self._record
        for kind, _, seq, last, aru, more, size in step.sends:
            order.send(memory.i64, memory.f64, record, view.record, index, kind, seq, last, aru, more, size)
        for delivery in step.deliveries:
            if delivery.payload < 0:
                view.due[index] -= 1
                found = membership.deliver(self.membership, index, delivery.payload, self.world.env.now)
                self._membership_step(index, found)
            elif self.members[index].up:
                self.galera.delivered(index, delivery.payload)
        for ticket in step.causal:
            self.galera.causal_point(ticket)

    def arrived(self, message: int, index: int) -> None:
        """A message that the kernels leave to Python."""
        memory = self._memory
        kind, sender = int(memory.i64[message + w.Y_KIND]), int(memory.i64[message + w.Y_SENDER])
        if kind == w.CONTROL_MESSAGE:
            handle = int(memory.i64[message + w.Y_HANDLE])
            order.forget_message(memory.i64, memory.f64, message)
            self.world.carry_out(handle)  # type: ignore[attr-defined]
            return
        if kind == w.STRANGER_MESSAGE:
            order.forget_message(memory.i64, memory.f64, message)
            self._stranger_arrival(index, sender)()
            return
        fields = [
            int(memory.i64[message + word]) for word in (w.Y_SEQ, w.Y_LAST, w.Y_ARU, w.Y_MORE, w.Y_SIZE)
        ]
        view = self._view_at[int(memory.i64[message + w.Y_VIEW])]
        order.forget_message(memory.i64, memory.f64, message)
        self._evs_arrival(view, sender, index, evs.Message(kind, sender, *fields))()
