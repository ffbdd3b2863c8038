"""Galera members with timers of their own on links of one delay: the event loop of the membership tests."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

from sim.protocols import evs
from sim.protocols import membership as gm
from sim.protocols.tables import members_of

RESOLUTION = 0.01
"""Seconds between the looks of the test's event loop at the members' timers."""


class Cluster:
    """Members with their own timers on links of one delay.

    A cut holds messages; a short one gives them back (TCP), a long one loses them with the connection.
    """

    def __init__(self, n: int, one_way: float, phase: float = 0.25, weights: list[int] | None = None) -> None:
        self.n, self.delay = n, one_way
        self.group = gm.new_group(n, weights=weights)
        self.now, self.count = 0.0, 0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.cut: set[frozenset[int]] = set()
        self.held: list[Callable[[], None]] = []
        self.views: dict[int, evs.EvsState] = {0: evs.new_view(n)}
        self.group_view = [0] * n
        self.written = 0
        self.events: list[tuple[float, gm.Event]] = []
        self.delivered: list[list[tuple[float, int]]] = [[] for _ in range(n)]
        self.installed: list[list[tuple[float, int]]] = [[] for _ in range(n)]
        self.group.order = [self.views[0]] * n
        for member in range(n):
            self.group.check_at[member] = phase * (member + 1) / n
            self.group.retrans_at[member] = 0.1 * member
            self.every(RESOLUTION, 0.0, partial(self.tick, member))

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call later."""
        heapq.heappush(self.queue, (when, self.count, call))
        self.count += 1

    def every(self, period: float, first: float, call: Callable[[], None]) -> None:
        """Call periodically."""

        def again() -> None:
            call()
            self.at(self.now + period, again)

        self.at(first, again)

    def tick(self, member: int) -> None:
        """Run the timers that are due; peers outside the view are heard once they may be connected again."""
        for peer in range(self.n):
            excluded = max((at for m in (member, peer) for at, _ in self.installed[m][-1:]), default=0.0)
            foreign = not self.group.known[member] >> peer & 1 and frozenset((member, peer)) not in self.cut
            alive = gm.CLOSED not in (self.group.evs[peer], self.group.evs[member])
            if foreign and alive and self.now > excluded + 2.5:
                self.act(member, gm.reconnected(self.group, member, peer, self.now))
        self.act(member, gm.timers(self.group, member, self.now))

    def control_arrives(self, member: int, message: gm.Message) -> None:
        """A control message reaches a member."""
        self.act(member, gm.receive(self.group, member, message, self.now))

    def write(self, member: int) -> None:
        """Broadcast a write set if the member can send."""
        self.written += 1
        if gm.can_send(self.group, member):
            view = self.group.view[member]
            self.evs_step(member, view, evs.submit(self.views[view], member, self.written, 500))

    def send(self, source: int, target: int, call: Callable[[], None]) -> None:
        """Carry a message, or hold it while the pair is cut."""
        if frozenset((source, target)) not in self.cut:
            self.at(self.now + self.delay, call)
        else:
            self.held.append(call)

    def evs_step(self, member: int, view: int, step: evs.Step) -> None:
        """Carry and deliver what an EVS step asks for."""
        for message in step.sends:
            for other in self.views[view].members:
                if other != member:
                    self.send(member, other, partial(self.evs_arrives, other, view, message))
        for delivery in step.deliveries:
            if delivery.payload >= 0:
                self.delivered[member].append((self.now, delivery.payload))
            else:
                self.act(member, gm.deliver(self.group, member, delivery.payload, self.now))

    def evs_arrives(self, member: int, view: int, message: evs.Message) -> None:
        """An EVS message reaches a member."""
        group = self.group
        if group.evs[member] == gm.CLOSED:
            return
        if group.view[member] < view:  # the sender installed first: TCP keeps it for us
            self.act(member, gm.ahead(group, member, message.sender, view, self.now))
            self.at(self.now + 0.001, partial(self.evs_arrives, member, view, message))
        elif group.view[member] == view:
            self.act(member, gm.ordered(group, member, message, self.now))

    def act(self, member: int, step: gm.Step) -> None:
        """Carry out a membership step."""
        for found in step.order:
            self.evs_step(member, self.group_view[member], found)
        for message in step.sends:
            for other in members_of(message.targets):
                self.send(
                    member,
                    other,
                    partial(self.control_arrives, other, message),
                )
        for view, mask in step.installed:
            if view not in self.views:
                self.views[view] = evs.new_view(self.n, members=members_of(mask))
            self.group_view[member] = view
            self.group.order[member] = self.views[view]
            self.installed[member].append((self.now, mask))
        self.events += [(self.now, event) for event in step.events]
        for payload in step.submits:
            view = self.group.view[member]
            self.evs_step(member, view, evs.submit(self.views[view], member, payload, gm.CONTROL_BYTES))

    def isolate(self, members: list[int]) -> None:
        """Cut members off from all others."""
        rest = [m for m in range(self.n) if m not in members]
        self.cut |= {frozenset((a, b)) for a in members for b in rest}

    def heal(self) -> None:
        """Undo all cuts; connections work at once."""
        pairs, self.cut = self.cut, set()
        held, self.held = self.held, []
        for call in held:
            self.at(self.now, call)
        self.run(self.now)
        for pair in pairs:
            a, b = sorted(pair)
            self.act(a, gm.reconnected(self.group, a, b, self.now))
            self.act(b, gm.reconnected(self.group, b, a, self.now))

    def run(self, until: float) -> None:
        """Handle events in time order."""
        while self.queue[0][0] <= until:
            self.now, _, call = heapq.heappop(self.queue)
            call()
        self.now = until

    def sendable(self, member: int, after: float, limit: float = 30.0) -> float:
        """When ``member`` can send (again), looked at every 5 ms."""
        when = after
        while when < after + limit:
            self.run(when)
            if gm.can_send(self.group, member) and self.group.view[member] > 0:
                return when
            when += 0.005
        return float("inf")

    def first(self, kind: str, member: int) -> float:
        """When an event was first logged by a member."""
        return next(at for at, e in self.events if e.kind == kind and e.member == member)
