"""WireGuard: bytes added to a packet, and when a tunnel must shake hands again.

Data keeps flowing under the current keys during a cut shorter than RejectAfterTime, so most cuts
cost a tunnel nothing when they heal; only a new handshake (first packet, restart of one end, keys
older than 180 s) makes traffic wait for one RTT or for the next try of the initiator.
Source: wireguard-go device/constants.go, timers.go, noise-protocol.go; components.md 7.1.

Example:
    >>> outer_size(1024)
    1084
    >>> tunnel = Tunnel()
    >>> action = send(tunnel, now=0.0, jitter=0.0)     # nothing to encrypt with yet
    >>> action.initiate, action.queued   # call timer() at action.retry_at
    (True, True)
    >>> handshake_done(tunnel, now=0.03, initiator=True)
    >>> send(tunnel, now=0.04, jitter=0.0).queued
    False
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

INITIATION_BYTES = 148 + 28
RESPONSE_BYTES = 92 + 28
"""Handshake messages with their UDP and IPv4 headers."""

REKEY_AFTER = 120.0
REJECT_AFTER = 180.0
REKEY_TIMEOUT = 5.0
REKEY_JITTER = 0.334
REKEY_ATTEMPT = 90.0
KEEPALIVE_TIMEOUT = 10.0
NO_REPLY = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
"""Seconds after data was sent with nothing back until a new handshake is tried."""

MTU = 1420


def outer_size(inner: int, ipv6: bool = False) -> int:
    """Bytes of the outer IP packet that carries an inner packet of ``inner`` bytes.

    Payload padded to 16 (never beyond the MTU) + 32 (header and tag) + 8 UDP + 20 IPv4 or 40 IPv6.
    """
    padded = min(-(-inner // 16) * 16, max(inner, MTU))
    return padded + 32 + 8 + (40 if ipv6 else 20)


def stream_bytes(size: float, mss: int = 1380) -> float:
    """Bytes on the outer wire for ``size`` bytes of a TCP stream (40 B TCP/IP + 60 B tunnel per segment)."""
    segments = max(1, -(-int(size) // mss))
    return size + segments * (40 + 60)


@dataclass
class Tunnel:
    """One end's view of a tunnel (times in seconds, -inf: never).

    Attributes:
        keys_at: when the current keys were agreed.
        initiator: whether this end began that handshake (only it rekeys by age).
        unanswered: when the first data was sent that nothing has answered.
        trying_since: when the current series of initiations began.
        tried_at: the latest initiation.
        retry_at: when the next is due.
    """

    keys_at: float = -inf
    initiator: bool = False
    unanswered: float = -inf
    trying_since: float = -inf
    tried_at: float = -inf
    retry_at: float = inf


class Action(NamedTuple):
    """What to do: initiate, hold the packet until :func:`handshake_done`, call back at ``retry_at``."""

    initiate: bool
    queued: bool
    retry_at: float


def has_keys(tunnel: Tunnel, now: float) -> bool:
    """Whether data can be encrypted now."""
    return now - tunnel.keys_at < REJECT_AFTER


def send(tunnel: Tunnel, now: float, jitter: float) -> Action:
    """A data packet is to be sent. ``jitter`` is uniform in [0, REKEY_JITTER)."""
    usable = has_keys(tunnel, now)
    if usable and tunnel.unanswered == -inf:
        tunnel.unanswered = now
    aged = tunnel.initiator and now - tunnel.keys_at >= REKEY_AFTER
    initiate = (not usable or aged) and _try(tunnel, now, jitter)
    return Action(initiate, not usable, next_timer(tunnel))


def received(tunnel: Tunnel, now: float) -> None:
    """An authenticated data or keepalive packet came in."""
    tunnel.unanswered = -inf


def handshake_done(tunnel: Tunnel, now: float, initiator: bool) -> None:
    """A handshake completed: one RTT after the initiation at the initiator, half of it at the other."""
    tunnel.keys_at = now
    tunnel.initiator = initiator
    tunnel.unanswered = tunnel.trying_since = tunnel.tried_at = -inf
    tunnel.retry_at = inf


def timer(tunnel: Tunnel, now: float, jitter: float) -> Action:
    """A timer set by an earlier action is due: retry the handshake, begin one for lack of replies, or stop.

    After REKEY_ATTEMPT seconds of tries queued packets are dropped and only the next packet tries again.
    """
    initiate = False
    if now >= tunnel.retry_at:
        if now - tunnel.trying_since >= REKEY_ATTEMPT:
            tunnel.trying_since = -inf
            tunnel.retry_at = inf
        else:
            initiate = _try(tunnel, now, jitter)
    elif now - tunnel.unanswered >= NO_REPLY and tunnel.retry_at == inf and tunnel.unanswered > -inf:
        initiate = _try(tunnel, now, jitter)
        tunnel.unanswered = -inf
    return Action(initiate, not has_keys(tunnel, now), next_timer(tunnel))


def next_timer(tunnel: Tunnel) -> float:
    """When :func:`timer` must be called next, inf if never."""
    no_reply = tunnel.unanswered + NO_REPLY if tunnel.unanswered > -inf else inf
    return min(tunnel.retry_at, no_reply)


def restart(tunnel: Tunnel) -> None:
    """This end's process restarted: it has no keys; the other end does not know."""
    handshake_done(tunnel, -inf, initiator=False)


def _try(tunnel: Tunnel, now: float, jitter: float) -> bool:
    if now - tunnel.tried_at < REKEY_TIMEOUT:
        return False
    if tunnel.trying_since == -inf:
        tunnel.trying_since = now
    tunnel.tried_at = now
    tunnel.retry_at = now + REKEY_TIMEOUT + jitter
    return True
