"""The Galera group: EVS views and membership, driven by timers and by messages over real links."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from sim.engine.links import Connections
from sim.engine.world import World
from sim.protocols import evs, membership, tcp
from sim.protocols.evs_state import released
from sim.protocols.tables import members_of

if TYPE_CHECKING:
    from sim.engine.galera import Galera


TRANSACTIONS, FLOW_CONTROL = 0, 1
"""Kinds of application payload, in the lowest bit: 2 * number + kind. Flow control ends with its view."""


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
        self._everybody = (1 << count) - 1
        self.timers = membership.Timers(
            suspect_timeout=settings["suspect_timeout"],
            inactive_timeout=settings["inactive_timeout"],
            inactive_check_period=settings["inactive_check_period"],
            keepalive_period=settings["keepalive_period"],
            install_timeout=settings["install_timeout"],
        )
        self._windows = (settings["user_send_window"], settings["send_window"])
        self.membership = membership.new_group(count, timers=self.timers)
        first = self._new_view(0, self._everybody)
        self.views = [first] * count
        self._known_views: dict[int, View] = {}
        self._early: list[list[tuple[View, int, evs.Message]]] = [[] for _ in range(count)]
        self.left: set[int] = set()
        self.links = self._connections()
        self.membership.order = [first.state for _ in range(count)]
        self._lost: set[int] = set()
        self._armed = [inf] * count
        self._resumes = [0.0] * count
        draws = world.streams.get("galera", "phase")
        for index, member in enumerate(self.members):
            # The members' clocks have drifted apart since the last view, when their timers started together.
            phases = [draws.uniform(draws.next()) for _ in range(2)]
            self.membership.check_at[index] = self.timers.inactive_check_period * phases[0]
            self.membership.retrans_at[index] = self.timers.keepalive_period * phases[1]
            member.on_change.append(lambda index=index: self._arm(index))  # type: ignore[misc]
            self._arm(index)

    def _connections(self) -> Connections:
        return Connections(self.world, self.members, self.timers, self)

    def _new_view(self, number: int, mask: int) -> View:
        user, send = self._windows
        members = members_of(mask)
        state = evs.new_view(self.count, members=members, user_send_window=user, send_window=send)
        return View(number, mask, state)

    def _enter(self, index: int, view: View) -> None:
        """Member ``index`` is in ``view`` from now on."""
        self.views[index] = view
        self.membership.order[index] = view.state

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
        """Broadcast an application payload; False when the queue is full (try again after RETRY_PERIOD)."""
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
        self._membership_step(index, membership.leave(self.membership, index, self.world.env.now))

    def talks(self, index: int) -> bool:
        """Whether the member's group communication runs: that of one that is leaving outlives its service."""
        return self.members[index].answering or self.membership.evs[index] == membership.LEAVING

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
        self._known_views[number] = self._new_view(number, mask)
        self._enter(index, self._known_views[number])
        self.galera.view_changed(index, 1)
        self.links.started(index)
        self._arm(index)

    def synced(self, index: int) -> None:
        """The member has all the data its component has."""
        membership.joined(self.membership, index)

    # -- timers ------------------------------------------------------------------------------

    def _arm(self, index: int) -> None:
        """Wake up for the member's next timer; a stopped process has none until it goes on."""
        now = self.world.env.now
        at = membership.next_timer(self.membership, index) if self.talks(index) else inf
        if at < inf:
            at = max(at, now)
        if at != self._armed[index]:
            self._armed[index] = at
            if at < inf:
                self._wake_later(index, at, at - now)

    def _wake_later(self, index: int, at: float, delay: float) -> None:
        self.world.at(delay, lambda: self._wake(index, at))

    def _wake(self, index: int, at: float) -> None:
        if self._armed[index] != at or not self.talks(index):
            return
        self._armed[index] = inf
        self._membership_step(index, membership.timers(self.membership, index, self.world.env.now))

    # -- carrying out what the protocols say -------------------------------------------------

    def _evs_step(self, view: View, index: int, step: evs.Step) -> None:
        for message in step.sends:
            for peer in members_of(view.mask & ~(1 << index)):
                self.links.carry(
                    index, peer, message.size, self._evs_arrival(view, index, peer, message), control=False
                )
            if view.mask != self._everybody:
                self._show(index, self._everybody & ~view.mask)
        for delivery in step.deliveries:
            if delivery.payload < 0:
                found = membership.deliver(self.membership, index, delivery.payload, self.world.env.now)
                self._membership_step(index, found)
            elif self.members[index].up:
                self.galera.delivered(index, delivery.payload)
        for ticket in step.causal:
            self.galera.causal_point(ticket)

    def _wait_for_cpu(self, peer: int) -> float:
        """Seconds for which the member's group communication, a thread like others, is out of quota.

        No message overtakes one that waits already, however the sums of times are rounded.
        """
        now = self.world.env.now
        wait = max(self.members[peer].cpu.stalled(), self._resumes[peer] - now)
        if wait <= 0:
            return 0.0
        wait = tcp.in_order(now, now + wait, self._resumes[peer])
        self._resumes[peer] = now + wait
        return wait

    def _evs_arrival(self, view: View, sender: int, peer: int, message: evs.Message) -> Callable[[], None]:
        def arrive() -> None:
            wait = self._wait_for_cpu(peer)
            if wait > 0:
                self.world.at(wait, arrive)
                return
            current, now = self.views[peer], self.world.env.now
            if current is view:
                if self.membership.evs[peer] == membership.OPERATIONAL:
                    membership.heard(self.membership, peer, sender, now)
                    self._evs_step(view, peer, evs.receive(view.state, peer, message))
                else:
                    self._membership_step(peer, membership.ordered(self.membership, peer, message, now))
            elif view.number > current.number:
                self._early[peer].append((view, sender, message))
                if message.kind != evs.GAP:
                    step = membership.ahead(self.membership, peer, sender, view.number, now)
                    if step.installed:
                        self._membership_step(peer, step)

        return arrive

    def _membership_step(self, index: int, step: membership.Step) -> None:
        for found in step.order:
            self._evs_step(self.views[index], index, found)
        for message in step.sends:
            single = message.kind in (membership.REQUEST, membership.RECOVERY)
            for peer in members_of(message.targets | (0 if single else self.links.peers(index))):
                arrive = self._control_arrival(peer, message)
                self.links.carry(index, peer, membership.CONTROL_BYTES, arrive, control=True)
        for number, mask in step.installed:
            self._install(index, number, mask)
        for payload in step.submits:
            self._submit_control(self.views[index], index, payload)
        for event in step.events:
            if event.kind == "galera.primary":
                if event.member not in self._lost:
                    continue  # it was dead: only who was in no primary view is back in one
                self._lost.discard(event.member)
            names = " ".join(self.members[i].name for i in members_of(event.view))
            self.world.recorder.event(self.members[event.member].name, event.kind, names)
            if event.kind == "galera.non-primary":
                self._lost.add(event.member)
                self.galera.lost_quorum(event.member)
        if membership.is_joining(self.membership, index):
            self.galera.joining(index)
        if step.installed or step.events or membership.can_send(self.membership, index):
            self.members[index].notify()
        self._arm(index)
        if self.membership.evs[index] == membership.CLOSED:
            self.links.closed(index)

    def _submit_control(self, view: View, index: int, payload: int) -> None:
        """Broadcast a control payload in total order."""
        self._evs_step(view, index, evs.submit(view.state, index, payload, membership.CONTROL_BYTES))

    def _control_arrival(self, peer: int, message: membership.Message) -> Callable[[], None]:
        def arrive() -> None:
            step = membership.receive(self.membership, peer, message, self.world.env.now)
            self._membership_step(peer, step)

        return arrive

    def _show(self, index: int, others: int) -> None:
        """Connected members outside the view hear every broadcast too, and meet its sender by it."""
        for peer in members_of(others & self.links.peers(index)):
            if not self.membership.known[peer] >> index & 1:
                self.links.carry(
                    index, peer, evs.HEADER_BYTES, self._stranger_arrival(peer, index), control=True
                )

    def _stranger_arrival(self, peer: int, sender: int) -> Callable[[], None]:
        def arrive() -> None:
            found = membership.reconnected(self.membership, peer, sender, self.world.env.now)
            self._membership_step(peer, found)

        return arrive

    def introduced(self, i: int, j: int) -> None:
        """Two members are connected again: one that has just been started asks to join at once."""
        for one, other in ((i, j), (j, i)):
            if self.membership.born[one] == self.membership.entered[one]:
                found = membership.reconnected(self.membership, one, other, self.world.env.now)
                self._membership_step(one, found)

    def _install(self, index: int, number: int, mask: int) -> None:
        """Member ``index`` closes its view and enters another."""
        old = self.views[index]
        view = self._known_views.get(number)
        if view is None:
            view = self._known_views[number] = self._new_view(number, mask)
        if number not in old.closing:
            survivors = [member for member in members_of(mask & old.mask) if self.views[member] is old]
            old.closing[number] = evs.transitional(old.state, survivors)
        for peer in members_of(old.mask & ~mask):
            self.links.excluded_at[index][peer] = self.world.env.now
        self.galera.view_changed(index, len(members_of(mask)))
        if self.membership.prim[index]:
            # What a component without quorum still delivers takes no effect there.
            for delivery in old.closing[number].get(index, []):
                if delivery.payload >= 0 and delivery.payload & 1 == TRANSACTIONS:
                    self.galera.delivered(index, delivery.payload)
        for ticket in released(old.state, index):
            self.galera.causal_point(ticket)
        self._enter(index, view)
        early, self._early[index] = self._early[index], []
        for later, sender, message in early:
            if later.number >= number:
                self.world.at(0.0, self._evs_arrival(later, sender, index, message))
