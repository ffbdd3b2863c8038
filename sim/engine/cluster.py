"""The Galera group: EVS views and membership, driven by timers and by messages over real links."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sim.engine.links import Connections
from sim.engine.world import World
from sim.protocols import evs, membership
from sim.protocols.tables import members_of

if TYPE_CHECKING:
    from sim.engine.galera import Galera


class View:
    """An EVS view: its id, its members and the state of its total order."""

    def __init__(self, number: int, mask: int, state: evs.EvsState) -> None:
        self.number = number
        self.mask = mask
        self.state = state
        self.closing: dict[int, dict[int, list[evs.Delivery]]] = {}


class Group:
    """All members' group communication.

    Attributes:
        left: members that said goodbye and have not come back.
    """

    def __init__(self, world: World, galera: Galera, settings: dict[str, Any]) -> None:
        self.world = world
        self.galera = galera
        self.members = galera.galera_members
        count = self.count = len(self.members)
        self.timers = membership.Timers(
            suspect_timeout=settings["suspect_timeout"],
            inactive_timeout=settings["inactive_timeout"],
            inactive_check_period=settings["inactive_check_period"],
            keepalive_period=settings["keepalive_period"],
            install_timeout=settings["install_timeout"],
        )
        self._windows = (settings["user_send_window"], settings["send_window"])
        self.membership = membership.new_group(count, timers=self.timers)
        first = View(0, (1 << count) - 1, self._new_state(list(range(count))))
        self.views = [first] * count
        self._known_views: dict[int, View] = {}
        self._early: list[list[tuple[View, int, evs.Message]]] = [[] for _ in range(count)]
        self.left: set[int] = set()
        self.links = Connections(world, self.members, self.timers, self)
        draws = world.streams.get("galera", "phase")
        timers = self.timers
        for index in range(count):
            for period, call in (
                (timers.inactive_check_period, self._check),
                (timers.join_retrans_period, self._retransmit),
                (timers.keepalive_period, self._keepalive),
            ):
                first_at = period * draws.uniform(draws.next())
                world.every(period, first_at, lambda call=call, index=index: call(index))  # type: ignore[misc]

    def _new_state(self, members: list[int]) -> evs.EvsState:
        user, send = self._windows
        return evs.new_view(self.count, members=members, user_send_window=user, send_window=send)

    # -- what the database asks --------------------------------------------------------------

    def can_send(self, index: int) -> bool:
        """Whether a commit may be replicated now."""
        return membership.can_send(self.membership, index)

    def is_ready(self, index: int) -> bool:
        """Whether statements are served."""
        return membership.is_ready(self.membership, index)

    def mask(self, index: int) -> int:
        """Members of the view that ``index`` is in, as a bit mask."""
        return self.views[index].mask

    def submit(self, index: int, payload: int, size: int) -> bool:
        """Broadcast an application payload; False when the queue is full (try again in 1 ms)."""
        view = self.views[index]
        step = evs.submit(view.state, index, payload, size)
        self._evs_step(view, index, step)
        return step.accepted

    def causal_read(self, index: int, ticket: int) -> None:
        """Ask for a causal point."""
        view = self.views[index]
        self._evs_step(view, index, evs.causal_read(view.state, index, ticket, self.world.env.now))

    def leave(self, index: int) -> None:
        """Graceful shutdown: the others are told."""
        self.left.add(index)
        self._membership_step(index, membership.leave(self.membership, index))

    def crash(self, index: int) -> None:
        """The process is dead."""
        membership.crash(self.membership, index)
        self._early[index].clear()

    def start(self, index: int) -> None:
        """The process runs again, alone."""
        recovered = index not in self.left
        self.left.discard(index)
        membership.start(self.membership, index, self.world.env.now, recovered=recovered)
        number, mask = self.membership.view[index], 1 << index
        self.views[index] = self._known_views[number] = View(number, mask, self._new_state([index]))
        self.links.started(index)

    def synced(self, index: int) -> None:
        """The member has all the data its component has."""
        membership.joined(self.membership, index)

    # -- timers ------------------------------------------------------------------------------

    def _check(self, index: int) -> None:
        if self.members[index].answering:
            self._membership_step(index, membership.check(self.membership, index, self.world.env.now))

    def _retransmit(self, index: int) -> None:
        if self.members[index].answering:
            self._membership_step(index, membership.retransmit(self.membership, index, self.world.env.now))

    def _keepalive(self, index: int) -> None:
        if self.members[index].answering and self.membership.evs[index] == membership.OPERATIONAL:
            view = self.views[index]
            self._evs_step(view, index, evs.keepalive(view.state, index))

    # -- carrying out what the protocols say -------------------------------------------------

    def _evs_step(self, view: View, index: int, step: evs.Step) -> None:
        for message in step.sends:
            for peer in members_of(view.mask & ~(1 << index)):
                self.links.carry(
                    index, peer, message.size, self._evs_arrival(view, index, peer, message), control=False
                )
        for delivery in step.deliveries:
            if delivery.payload < 0:
                found = membership.deliver(self.membership, index, delivery.payload, self.world.env.now)
                self._membership_step(index, found)
            else:
                self.galera.delivered(index, delivery.payload)
        for ticket in step.causal:
            self.galera.causal_point(ticket)

    def _evs_arrival(self, view: View, sender: int, peer: int, message: evs.Message) -> Callable[[], None]:
        def arrive() -> None:
            current = self.views[peer]
            if current is view:
                membership.heard(self.membership, peer, sender, self.world.env.now)
                self._evs_step(view, peer, evs.receive(view.state, peer, message))
            elif view.number > current.number:
                self._early[peer].append((view, sender, message))

        return arrive

    def _membership_step(self, index: int, step: membership.Step) -> None:
        if step.gathering:
            view = self.views[index]
            self._evs_step(view, index, evs.flush(view.state, index))
        for message in step.sends:
            for peer in members_of(message.targets & ~(1 << index)):
                arrive = self._control_arrival(peer, message)
                self.links.carry(index, peer, membership.CONTROL_BYTES, arrive, control=True)
        for number, mask in step.installed:
            self._install(index, number, mask)
        for payload in step.submits:
            view = self.views[index]
            self._evs_step(view, index, evs.submit(view.state, index, payload, membership.CONTROL_BYTES))
        for event in step.events:
            names = " ".join(self.members[i].name for i in members_of(event.view))
            self.world.recorder.event(self.members[event.member].name, event.kind, names)
            if event.kind == "galera.non-primary":
                self.galera.lost_quorum(event.member)
        if membership.is_joining(self.membership, index):
            self.galera.joining(index)
        if step.installed or step.events or membership.can_send(self.membership, index):
            self.members[index].notify()

    def _control_arrival(self, peer: int, message: membership.Message) -> Callable[[], None]:
        def arrive() -> None:
            step = membership.receive(self.membership, peer, message, self.world.env.now)
            self._membership_step(peer, step)

        return arrive

    def reconnected(self, i: int, j: int) -> None:
        """Two members are connected again."""
        for one, other in ((i, j), (j, i)):
            step = membership.reconnected(self.membership, one, other, self.world.env.now)
            self._membership_step(one, step)

    def _install(self, index: int, number: int, mask: int) -> None:
        """Member ``index`` closes its view and enters another."""
        old = self.views[index]
        view = self._known_views.get(number)
        if view is None:
            view = self._known_views[number] = View(number, mask, self._new_state(members_of(mask)))
            self.galera.view_changed(len(members_of(mask)))
        if number not in old.closing:
            survivors = [member for member in members_of(mask & old.mask) if self.views[member] is old]
            old.closing[number] = evs.transitional(old.state, survivors)
        for peer in members_of(old.mask & ~mask):
            self.links.excluded_at[index][peer] = self.world.env.now
        if self.membership.prim[index]:
            # What a component without quorum still delivers takes no effect there.
            for delivery in old.closing[number].get(index, []):
                if delivery.payload >= 0:
                    self.galera.delivered(index, delivery.payload)
        self.views[index] = view
        early, self._early[index] = self._early[index], []
        for later, sender, message in early:
            if later.number >= number:
                self.world.at(0.0, self._evs_arrival(later, sender, index, message))
