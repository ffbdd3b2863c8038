"""Packets between sites: delay, jitter, serialisation, loss, and links that go dead and come back.

A message that meets a dead link is not lost for good: TCP sends it again with a doubling timeout,
so it passes at the first retransmission after the link is back (sim.protocols.tcp).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import ceil
from typing import Any

import simpy

from sim.program import PUBLIC, VPN, VPN_OVERHEAD, Program
from sim.protocols import tcp
from sim.random import Streams

Process = Generator[simpy.Event, Any, Any]

SAME_SITE = 25e-6
"""One-way delay in seconds between two nodes of a site (a switched LAN)."""

_SEGMENT = 1380  # bytes of TCP payload in a packet through the tunnel (MTU 1420)


class Network:
    """State of all links.

    Args:
        env: the clock.
        program: delays, jitters, losses, bandwidths, routes.
        streams: source of jitter and loss.
    """

    def __init__(self, env: simpy.Environment, program: Program, streams: Streams) -> None:
        self.env = env
        count = self.count = len(program.sites)
        self._link = {
            name: program.arrays[name].tolist() for name in ("delay", "jitter", "loss", "bandwidth")
        }
        self._original = {name: program.arrays[name].tolist() for name in self._link}
        self._hops = program.arrays["next_hop"].tolist()
        self._extra = program.arrays["extra_delay"].tolist()
        self._cuts: dict[tuple[int, int, int], int] = {}
        self.blocked = [[[False] * count for _ in range(count)] for _ in (VPN, PUBLIC)]
        """[path][from][to]: whether nothing passes in that direction."""
        self._free = [[[0.0] * count for _ in range(count)] for _ in (VPN, PUBLIC)]
        self._streams = [
            [[streams.get("link", f"{path}/{i}/{j}") for j in range(count)] for i in range(count)]
            for path in (VPN, PUBLIC)
        ]
        self._syn_linear = int(program.machine["tcp_syn_linear_timeouts"])
        self._changed = env.event()
        self._listeners: list[Callable[[], None]] = []
        self.healed_at = [[[0.0] * count for _ in range(count)] for _ in (VPN, PUBLIC)]
        """[path][from][to]: when that direction was last repaired."""

    # -- delays ------------------------------------------------------------------------------

    def one_way(self, path: int, i: int, j: int) -> float:
        """Propagation delay in seconds now, jitter and loss left out."""
        delay: float = self._link["delay"][path][i][j]
        return delay if i != j else SAME_SITE

    def rtt(self, path: int, i: int, j: int) -> float:
        """Round-trip propagation delay in seconds now."""
        return self.one_way(path, i, j) + self.one_way(path, j, i)

    def delay(self, path: int, i: int, j: int, size: int = 500, syn: bool = False) -> float:
        """Seconds that a message of ``size`` bytes sent now takes over a live link.

        Args:
            path: VPN or PUBLIC.
            i: site it leaves.
            j: site it goes to.
            size: bytes.
            syn: whether it opens a connection, whose round trip the kernel does not know yet.
        """
        if i == j:
            return SAME_SITE
        link = self._link
        packets = ceil(size / _SEGMENT)
        wire = (
            (size + packets * (40 + (VPN_OVERHEAD if path == VPN else 0))) * 8 / link["bandwidth"][path][i][j]
        )
        now = self.env.now
        free = self._free[path][i]
        start = free[j] if free[j] > now else now
        free[j] = start + wire
        total: float = start + wire - now + link["delay"][path][i][j]
        jitter = link["jitter"][path][i][j]
        if jitter:
            stream = self._streams[path][i][j]
            total = max(0.0, total + jitter * (2 * stream.uniform(stream.next()) - 1))
        loss = link["loss"][path][i][j]
        if loss:
            losses = self._losses(path, i, j, loss, packets)
            rtt = self.rtt(path, i, j)
            total += tcp.syn_loss_delay(losses) if syn else tcp.loss_delay(rtt, losses, packets)
        return total

    def _losses(self, path: int, i: int, j: int, loss: float, packets: int) -> int:
        stream = self._streams[path][i][j]
        losses, chance = 0, 1 - (1 - loss) ** packets
        while stream.uniform(stream.next()) < chance and losses < tcp.DATA_RETRIES:
            losses += 1
            chance = loss
        return losses

    # -- things that take time ---------------------------------------------------------------

    def transfer(self, path: int, i: int, j: int, size: int = 500) -> Process:
        """Carry a message of an open connection; over a dead link it waits for the repair."""
        if i == j:
            return
        if self.blocked[path][i][j]:
            yield from self.wait_for_repair(path, i, j)
        yield self.env.timeout(self.delay(path, i, j, size))

    def wait_for_repair(self, path: int, i: int, j: int, first: float | None = None) -> Process:
        """Wait until a segment sent now passes: the first retransmission after the repair."""
        sent = self.env.now
        first = tcp.rto(self.rtt(path, i, j)) if first is None else first
        while True:
            while self.blocked[path][i][j]:
                yield self.changed()
            again = tcp.resumed_after(sent, self.env.now, first)
            if again > self.env.now:
                yield self.env.timeout(min(again - self.env.now, 1e6))
            if not self.blocked[path][i][j]:
                return

    def connect(self, path: int, i: int, j: int, timeout: float) -> Process:
        """Open a connection: True after one round trip, False after ``timeout`` seconds without one.

        Into a dead link the SYN is sent again and again (sim.protocols.tcp) until it meets the link alive.
        """
        if i == j:
            return True
        if not (self.blocked[path][i][j] or self.blocked[path][j][i]):
            took = self.delay(path, i, j, 60, syn=True) + self.delay(path, j, i, 60, syn=True)
            yield self.env.timeout(min(took, timeout))
            return took <= timeout
        started = self.env.now
        while True:
            while self.blocked[path][i][j] or self.blocked[path][j][i]:
                left = started + timeout - self.env.now
                if left <= 0:
                    return False
                yield self.env.any_of([self.changed(), self.env.timeout(left)])
            rtt = self.rtt(path, i, j)
            through = tcp.connected_after(started, self.env.now, rtt, timeout, self._syn_linear)
            if through > started + timeout:
                yield self.env.timeout(max(0.0, started + timeout - self.env.now))
                return False
            yield self.env.timeout(max(0.0, through - rtt - self.env.now))
            if not (self.blocked[path][i][j] or self.blocked[path][j][i]):
                yield self.env.timeout(rtt)
                return True

    def changed(self) -> simpy.Event:
        """An event that happens at the next cut or repair of any link."""
        return self._changed

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every cut or repair."""
        self._listeners.append(listener)

    # -- faults ------------------------------------------------------------------------------

    def cut(self, path: int, i: int, j: int) -> None:
        """Let nothing pass from ``i`` to ``j`` any more; cuts add up and are repaired one by one."""
        self._cuts[path, i, j] = self._cuts.get((path, i, j), 0) + 1

    def repair(self, path: int, i: int, j: int) -> None:
        """Take one cut from ``i`` to ``j`` back."""
        left = self._cuts.get((path, i, j), 0) - 1
        if left > 0:
            self._cuts[path, i, j] = left
        else:
            self._cuts.pop((path, i, j), None)

    def apply(self) -> None:
        """Put the cuts in force and tell everybody."""
        self._settle()
        happened, self._changed = self._changed, self.env.event()
        happened.succeed()
        for listener in self._listeners:
            listener()

    def _settle(self) -> None:
        """A route is dead when any hop of it is."""
        for path in (VPN, PUBLIC):
            for i in range(self.count):
                for j in range(self.count):
                    hops = [(i, j), *self.route(path, i, j)] if i != j else []
                    dead = any((path, a, b) in self._cuts for a, b in hops)
                    if self.blocked[path][i][j] and not dead:
                        self.healed_at[path][i][j] = self.env.now
                    self.blocked[path][i][j] = dead

    def route(self, path: int, i: int, j: int) -> list[tuple[int, int]]:
        """The hops from ``i`` to ``j``."""
        hops = []
        while i != j:
            following = self._hops[path][i][j]
            if following < 0:
                return [(i, j)]
            hops.append((i, following))
            i = following
        return hops

    def degrade(self, a: int, b: int, values: dict[str, float | None]) -> None:
        """Give the link between two sites other values (seconds, ratio, bit/s); None restores a value."""
        for path in (VPN, PUBLIC):
            for i, j in ((a, b), (b, a)):
                for name, value in values.items():
                    if value is None:
                        self._link[name][path][i][j] = self._original[name][path][i][j]
                    else:
                        self._link[name][path][i][j] = value + (
                            self._extra[path][i][j] if name == "delay" else 0.0
                        )
        self._combine()

    def _combine(self) -> None:
        """Recompute the routes that run over several links."""
        link = self._link
        for path in (VPN, PUBLIC):
            for i in range(self.count):
                for j in range(self.count):
                    hops = self.route(path, i, j)
                    if len(hops) < 2:
                        continue
                    extra = self._extra[path]
                    link["delay"][path][i][j] = extra[i][j] + sum(
                        link["delay"][path][a][b] - extra[a][b] for a, b in hops
                    )
                    link["jitter"][path][i][j] = sum(link["jitter"][path][a][b] for a, b in hops)
                    passed = 1.0
                    for a, b in hops:
                        passed *= 1 - link["loss"][path][a][b]
                    link["loss"][path][i][j] = 1 - passed
                    link["bandwidth"][path][i][j] = min(link["bandwidth"][path][a][b] for a, b in hops)
