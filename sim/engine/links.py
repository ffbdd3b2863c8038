"""gmcast connections: how Galera members' messages travel, break off and find their way again.

A message over a dead link waits for TCP's next retransmission after the repair. After
`gmcast.peer_timeout` of silence a connection is given up: its control messages are lost, EVS
messages of a view that still stands are sent again on the next connection, and if a third member
reaches both ends it relays (components.md 1.11, sim.protocols.membership).

Where only the way back is dead, a message still arrives, but no acknowledgement does: at the first
retransmission timeout TCP closes its window to one segment, which is under way already (RFC 5681 section
3.1; Linux tcp_enter_loss), and whatever is sent later waits as if the link were dead both ways.

A silence does not end with the repair but with the first retransmission after it: gmcast looks at when it
received something last (GMCast::check_liveness), so a cut of 2.5 s, whose data come again after 3.5 s, costs
the connection too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sim.engine.world import World
from sim.program import VPN
from sim.protocols import membership, tcp
from sim.protocols.gmcast import HANDSHAKE_ROUND_TRIPS
from sim.protocols.tables import members_of

if TYPE_CHECKING:
    from sim.engine.cluster import Group
    from sim.engine.galera_member import GaleraMember

TOPOLOGY_PERIOD = 0.1
"""Seconds within which members tell one another about new peers (gmcast topology messages)."""


class Parcel(NamedTuple):
    """A message that waits for its link.

    Attributes:
        sent: when.
        control: a membership message, lost with its connection.
        arrive: what to do at the receiver.
    """

    sent: float
    control: bool
    arrive: Callable[[], None]


class Connections:
    """The full mesh of connections between the members of one group."""

    def __init__(
        self, world: World, members: list[GaleraMember], timers: membership.Timers, group: Group
    ) -> None:
        self._world = world
        self._members = members
        self._timers = timers
        self._group = group
        count = self._count = len(members)
        # Everybody sends to everybody: each message of a round waits until those of the others are handled.
        self._handling = world.program.costs["group_message"][0] * (count - 1)
        self.linked = [[True] * count for _ in range(count)]
        self._relay = [[-1] * count for _ in range(count)]
        self._last = [[0.0] * count for _ in range(count)]
        self._unanswered = [[math.inf] * count for _ in range(count)]
        self._silent_since: dict[tuple[int, int], float] = {}
        self._patience: dict[tuple[int, int], float] = {}
        self._doomed: set[tuple[int, int]] = set()
        self._parcels: dict[tuple[int, int], deque[Parcel]] = {}
        self._inbox: list[list[Callable[[], None]]] = [[] for _ in members]
        self._pending: set[tuple[int, int]] = set()
        self.excluded_at = [[-1e9] * count for _ in range(count)]
        self._draws = world.streams.get("galera", "reconnect")
        self._syn_linear = int(world.program.machine["tcp_syn_linear_timeouts"])
        world.network.listen(self._update)
        for index, member in enumerate(members):
            member.on_change.append(lambda index=index: self._member_changed(index))  # type: ignore[misc]

    # -- sending -----------------------------------------------------------------------------

    def carry(self, sender: int, peer: int, size: int, arrive: Callable[[], None], control: bool) -> None:
        """Bring a message to ``peer``, after those sent to it before."""
        now = self._world.env.now
        if not self.linked[sender][peer]:
            relay = self._relay[sender][peer]
            if relay >= 0 and self._alive(sender, relay) and self._alive(relay, peer):
                at = now + self._through(sender, relay, peer, size) + self._handling
                self._deliver_at(sender, peer, at, arrive)
            elif not control:
                self._parcels.setdefault((sender, peer), deque()).append(Parcel(now, control, arrive))
            return
        a, b = self._members[sender].site, self._members[peer].site
        network = self._world.network
        closed = network.blocked[VPN][a][b]
        if network.blocked[VPN][b][a]:
            first = self._unanswered[sender][peer] = min(now, self._unanswered[sender][peer])
            closed |= now > first + tcp.rto(network.rtt(VPN, a, b))
        if closed or (sender, peer) in self._parcels:
            # TCP keeps the order: what was sent before may wait for a peer that is stopped still.
            self._parcels.setdefault((sender, peer), deque()).append(Parcel(now, control, arrive))
            return
        at = now + network.delay(VPN, a, b, size) + self._handling
        self._deliver_at(sender, peer, at, arrive)

    def _through(self, sender: int, relay: int, peer: int, size: int) -> float:
        a, b, c = (self._members[i].site for i in (sender, relay, peer))
        network = self._world.network
        return network.delay(VPN, a, b, size) + network.delay(VPN, b, c, size)

    def _deliver_at(self, sender: int, peer: int, at: float, arrive: Callable[[], None]) -> None:
        now = self._world.env.now
        delay = tcp.in_order(now, at, self._last[sender][peer])
        self._last[sender][peer] = now + delay
        self._world.at(delay, lambda: self._arrive(peer, arrive))

    def _arrive(self, peer: int, arrive: Callable[[], None]) -> None:
        member = self._members[peer]
        if member.paused:
            self._inbox[peer].append(arrive)
        elif self._group.talks(peer):
            arrive()

    def peers(self, index: int) -> int:
        """Members that ``index`` is connected to, if only through another one, as a bit mask."""
        linked, relay = self.linked[index], self._relay[index]
        return sum(1 << p for p in range(self._count) if p != index and (linked[p] or relay[p] >= 0))

    # -- silence and its end -----------------------------------------------------------------

    def reachable(self, i: int, j: int) -> bool:
        """Whether packets pass in both directions."""
        a, b = self._members[i].site, self._members[j].site
        blocked = self._world.network.blocked[VPN]
        return not (blocked[a][b] or blocked[b][a])

    def _alive(self, i: int, j: int) -> bool:
        return self.reachable(i, j) and self._group.talks(i) and self._group.talks(j)

    def _update(self) -> None:
        for i in range(self._count):
            for j in range(i + 1, self._count):
                self._look(i, j)

    def _look(self, i: int, j: int) -> None:
        """Note the beginning or the end of a silence between two members."""
        now, pair = self._world.env.now, (i, j)
        if not self._alive(i, j):
            if pair not in self._silent_since:
                self._silent_since[pair] = now
                patience = self._timers.peer_timeout + membership.GMCAST_CHECK_PERIOD * self._draw()
                patience -= self._age(i, j)
                self._patience[pair] = now + patience
                self._world.at(patience, lambda: self._give_up(i, j, now))
        elif pair in self._silent_since and pair not in self._doomed:
            if self.linked[i][j] and self._heard_again(i, j) > self._patience[pair]:
                self._doomed.add(pair)
                return
            since = self._silent_since.pop(pair)
            if self.linked[i][j]:
                self._release(i, j)
            else:
                self._plan(i, j, since)

    def _heard_again(self, i: int, j: int) -> float:
        """When both of two members have what the other one's TCP sends again after a repair now."""
        network, now = self._world.network, self._world.env.now
        heard = now
        for one, other in ((i, j), (j, i)):
            first = self._unanswered[one][other]
            if (one, other) in self._parcels:
                first = min(first, self._parcels[one, other][0].sent)
            if first < now:
                a, b = self._members[one].site, self._members[other].site
                again = tcp.resumed_after(first, now, tcp.rto(network.rtt(VPN, a, b)))
                heard = max(heard, again + network.one_way(VPN, a, b))
        return heard

    def _age(self, i: int, j: int) -> float:
        """Seconds since the two last heard each other."""
        return min(
            self._timers.keepalive_period, self._world.env.now - min(self._last[i][j], self._last[j][i])
        )

    def _give_up(self, i: int, j: int, since: float) -> None:
        """Gmcast closes a silent connection; common peers relay from now on."""
        if self._silent_since.get((i, j)) != since:
            return
        self._doomed.discard((i, j))
        self._unlink(i, j)
        self._find_relay(i, j)
        if self._alive(i, j):
            del self._silent_since[i, j]
            self._plan(i, j, since)

    def _find_relay(self, i: int, j: int) -> None:
        """A peer that hears both of two members passes on what one sends the other."""
        for relay in range(self._count):
            if relay in (i, j) or not (self.linked[i][relay] and self.linked[relay][j]):
                continue
            if self._alive(i, relay) and self._alive(relay, j):
                if self._members[i].answering and self._members[j].answering:
                    self._relay[i][j] = self._relay[j][i] = relay
                    self._send_through(i, j, relay)
                return

    def _unlink(self, i: int, j: int) -> None:
        self.linked[i][j] = self.linked[j][i] = False
        for pair in ((i, j), (j, i)):
            if pair in self._parcels:
                self._parcels[pair] = deque(p for p in self._parcels[pair] if not p.control)

    def _release(self, i: int, j: int) -> None:
        """The silence was short: TCP sends again what was lost."""
        network, now = self._world.network, self._world.env.now
        for one, other in ((i, j), (j, i)):
            waiting = self._parcels.pop((one, other), None)
            unanswered, self._unanswered[one][other] = self._unanswered[one][other], math.inf
            if not waiting:
                continue
            a, b = self._members[one].site, self._members[other].site
            first = min(unanswered, waiting[0].sent)
            again = tcp.resumed_after(first, now, tcp.rto(network.rtt(VPN, a, b)))
            for parcel in waiting:
                self._deliver_at(one, other, again + network.one_way(VPN, a, b), parcel.arrive)

    def _plan(self, i: int, j: int, since: float) -> None:
        """Connect again when gmcast's own timers and the kernel's SYN back-off allow it."""
        now = self._world.env.now
        excluded = max(self.excluded_at[i][j], self.excluded_at[j][i])
        left = bool(self._group.left & {i, j})
        at = membership.reconnect_at(
            since,
            now,
            excluded,
            min(self._timers.keepalive_period, max(0.0, since - min(self._last[i][j], self._last[j][i]))),
            self._draw(),
            left=left,
            timers=self._timers,
            syn_linear=self._syn_linear,
        )
        self.connect_later(i, j, max(0.0, at - now))

    def connect_later(self, i: int, j: int, delay: float) -> None:
        """Begin to connect two members after ``delay`` seconds unless that is planned already."""
        pair = (min(i, j), max(i, j))
        if pair in self._pending or self.linked[i][j]:
            return
        self._pending.add(pair)
        rtt = self._world.network.rtt(VPN, self._members[i].site, self._members[j].site)
        self._world.at(delay + HANDSHAKE_ROUND_TRIPS * rtt, lambda: self._connect(*pair))

    def _connect(self, i: int, j: int) -> None:
        self._pending.discard((i, j))
        if self.linked[i][j] or not self._alive(i, j):
            return
        now = self._world.env.now
        banned = max(self.excluded_at[i][j], self.excluded_at[j][i]) + self._timers.time_wait / 2
        if now < banned:
            self.connect_later(i, j, self._timers.reconnect_period)
            return
        self.linked[i][j] = self.linked[j][i] = True
        self._relay[i][j] = self._relay[j][i] = -1
        network = self._world.network
        for one, other in ((i, j), (j, i)):
            self._unanswered[one][other] = math.inf
            a, b = self._members[one].site, self._members[other].site
            for parcel in self._parcels.pop((one, other), ()):
                self._deliver_at(one, other, now + network.one_way(VPN, a, b), parcel.arrive)
        self._group.introduced(i, j)
        self._introduce(i, j)

    def _introduce(self, i: int, j: int) -> None:
        """Once one pair is connected, topology messages tell the others of both sides."""
        network = self._world.network
        for a in members_of(self._group.mask(i)):
            for b in members_of(self._group.mask(j)):
                if a != b and not self.linked[a][b] and self._alive(a, b):
                    teller, learner = (j, b) if a == i else (i, a)
                    told = network.one_way(VPN, self._members[teller].site, self._members[learner].site)
                    if a == i or b == j:
                        call = partial(self._relay_through, a, b, teller)
                        self._world.at(told, call)
                    self.connect_later(a, b, told + TOPOLOGY_PERIOD * self._draw())

    def _relay_through(self, a: int, b: int, relay: int) -> None:
        """Until two members are connected a common peer passes their broadcasts on (F_RELAY)."""
        if not self.linked[a][b]:
            self._relay[a][b] = self._relay[b][a] = relay
            self._send_through(a, b, relay)

    def _send_through(self, i: int, j: int, relay: int) -> None:
        """What waits for the link between two members goes over the relay, before what follows."""
        for one, other in ((i, j), (j, i)):
            for parcel in self._parcels.pop((one, other), ()):
                at = self._world.env.now + self._through(one, relay, other, 500)
                self._deliver_at(one, other, at, parcel.arrive)

    def _draw(self) -> float:
        return self._draws.uniform(self._draws.next())

    # -- processes ---------------------------------------------------------------------------

    def _member_changed(self, index: int) -> None:
        member = self._members[index]
        if not member.up:
            if self._group.talks(index):
                return
            self._drop_inbox(index)
            for peer in range(self._count):
                if peer != index:
                    self._unlink(index, peer)
                    self._lose((index, peer))
                    self._lose((peer, index))
        if member.answering:
            self._open_inbox(index)
        for peer in range(self._count):
            if peer != index:
                self._look(min(index, peer), max(index, peer))

    def _lose(self, pair: tuple[int, int]) -> None:
        """What waits for a link between two members will never arrive."""
        self._parcels.pop(pair, None)

    def _drop_inbox(self, index: int) -> None:
        """What has come for a process that is dead now is lost."""
        self._inbox[index].clear()

    def _open_inbox(self, index: int) -> None:
        """A process that goes on hears what has come meanwhile."""
        waiting, self._inbox[index] = self._inbox[index], []
        for arrive in waiting:
            self._world.at(0.0, lambda arrive=arrive: self._arrive(index, arrive))  # type: ignore[misc]

    def closed(self, index: int) -> None:
        """A member's group communication has ended."""
        if any(self.linked[index][peer] for peer in range(self._count) if peer != index):
            self._member_changed(index)

    def started(self, index: int) -> None:
        """A fresh process calls everybody it knows; nobody bans one that has just started."""
        for peer in range(self._count):
            if peer != index:
                self.excluded_at[index][peer] = self.excluded_at[peer][index] = -1e9
                pair = (min(index, peer), max(index, peer))
                self._silent_since.pop(pair, None)
                self._doomed.discard(pair)
                self._pending.discard(pair)
                if self._alive(index, peer):
                    self.connect_later(index, peer, self._timers.reconnect_period * self._draw())
                else:
                    self._silent_since[pair] = self._world.env.now
