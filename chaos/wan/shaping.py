"""How a path treats packets: delay, jitter, loss, serialisation and cuts, with no clock of its own.

Uniform jitter and the order of netem's effects (loss, then rate, then delay), with one difference:
packets of one direction never overtake each other, as on a single route (netem reorders under
jitter, which TCP would answer with retransmissions that no real path causes).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_QUEUE = 0.25
"""Seconds of transmission a rate-limited direction buffers before it drops (a router's usual depth)."""


@dataclass(frozen=True)
class Quality:
    """What one direction of a link or of a whole route does to packets.

    Attributes:
        delay: one way, seconds.
        jitter: half width of the delay's uniform variation, seconds.
        loss: ratio.
        rate: bits per second; 0 is without limit.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0


def in_series(parts: Iterable[Quality]) -> Quality:
    """The quality of a route over several links, one after the other.

    Delays and jitters add up, losses combine, the narrowest link sets the rate.
    """
    delay = jitter = rate = 0.0
    passed = 1.0
    links = list(parts)
    if len(links) == 1:  # exactly its own values: 1 - (1 - loss) is not
        return links[0]
    for part in links:
        delay += part.delay
        jitter += part.jitter
        passed *= 1.0 - part.loss
        if part.rate:
            rate = min(rate, part.rate) if rate else part.rate
    return Quality(delay, jitter, 1.0 - passed, rate)


class Shaper:
    """One direction of one path at work.

    Attributes:
        name: `source>target/path`.
        quality: in force now.
        cuts: names of the cuts in force; packets pass only when there is none.
        packets: delivered so far.
        dropped: why the last packet was refused.
    """

    __slots__ = ("_free_at", "_last_due", "_random", "cuts", "dropped", "name", "packets", "quality")

    def __init__(self, name: str, quality: Quality, seed: int) -> None:
        """Draw loss and jitter from a stream of ``seed`` that belongs to ``name`` alone."""
        self.name = name
        self.quality = quality
        self.cuts: set[str] = set()
        self.packets = 0
        self.dropped = ""
        self._free_at = 0.0
        self._last_due = 0.0
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8])).random

    def admit(self, now: float, size: int) -> float | None:
        """When a packet of ``size`` bytes that enters at ``now`` comes out; None when it is dropped."""
        if self.cuts:
            self.dropped = "cut"
            return None
        quality = self.quality
        if quality.loss and self._random() < quality.loss:
            self.dropped = "loss"
            return None
        due = now
        if quality.rate:
            if self._free_at > now:
                if self._free_at - now > LONGEST_QUEUE:
                    self.dropped = "queue"
                    return None
                due = self._free_at
            due += size * 8 / quality.rate
            self._free_at = due
        due += quality.delay
        if quality.jitter:
            due += quality.jitter * (2 * self._random() - 1)
            if due < now:
                due = now
        if due < self._last_due:
            return self._last_due
        self._last_due = due
        return due
