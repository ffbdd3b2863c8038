"""What sentinels do over and over while nothing is wrong: ask, note the answers, see that all is well.

These functions use flat tables only, so that both engines run them as they stand; their ``watch`` is a
:class:`sim.protocols.sentinel_state.Watch` or the part of one in :class:`Routine`. Whatever more there
is to do (`peaceful` is False, an answer is news) is left to :mod:`sim.protocols.sentinel`.
Source: redis src/sentinel.c (sentinelSendPeriodicCommands, sentinelRefreshInstanceInfo), components.md 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

from sim.protocols.sentinel_state import (
    FAST_INFO_PERIOD,
    IDLE,
    INFO_PERIOD,
    NEVER,
    PING_PERIOD,
    PUBLISH_PERIOD,
    RECONF_REPLICAS,
    RECONF_SENT,
    TILT_TRIGGER,
    Watch,
)
from sim.protocols.tables import Floats, Ints

SEND_PING, SEND_INFO, SEND_HELLO = 1, 2, 4
"""Bits of what :func:`due` tells to send, in this order."""


class Routine(NamedTuple):
    """The tables of a `Watch` that these functions use, under the same names."""

    sentinels: int
    instances: int
    epoch: Ints
    config_epoch: Ints
    primary: Ints
    odown: Ints
    failover: Ints
    promoted: Ints
    previous_tick: Floats
    tilt_since: Floats
    connected: Ints
    reconnect_tried: Floats
    first_ping: Floats
    last_ping: Floats
    last_pong: Floats
    info_sent: Floats
    info_at: Floats
    info_primary: Ints
    info_source: Ints
    info_offset: Ints
    info_link_down: Floats
    role_since: Floats
    sdown: Ints
    published: Floats
    reconf: Ints
    says_down: Ints
    says_leader: Ints
    alive: Ints
    role: Ints
    offset: Ints
    link_down_since: Floats
    syncing: Ints


def handled(watch: Watch, sentinel: int, turn: int) -> int:
    """The instance that ``sentinel`` sees to in that turn of a tick: the primary, then the replicas."""
    return (watch.primary[sentinel] + turn) % watch.instances


def due(watch: Watch, sentinel: int, instance: int, down_after: float, now: float) -> int:
    """What ``sentinel`` sends to ``instance`` now (see `SEND_PING`), noted as sent.

    INFO gives `master_link_down_since_seconds` in whole seconds: a link down for less is no hurry.
    """
    pair = sentinel * watch.instances + instance
    if not watch.connected[pair]:
        if now - watch.reconnect_tried[pair] < PING_PERIOD:
            return 0
        watch.reconnect_tried[pair] = now
        note_ping(watch, pair, now)
        return SEND_PING
    found = 0
    period = min(down_after, PING_PERIOD)
    if now - watch.last_pong[pair] > period and now - watch.last_ping[pair] > period / 2:
        note_ping(watch, pair, now)
        found = SEND_PING
    hurry = instance != watch.primary[sentinel] and (
        watch.odown[sentinel] != 0 or watch.failover[sentinel] != IDLE or watch.info_link_down[pair] >= 1.0
    )
    info_period = FAST_INFO_PERIOD if hurry else INFO_PERIOD
    if now - watch.info_at[pair] > info_period and now - watch.info_sent[pair] > FAST_INFO_PERIOD:
        watch.info_sent[pair] = now
        found += SEND_INFO
    if now - watch.published[pair] > PUBLISH_PERIOD:
        watch.published[pair] = now
        found += SEND_HELLO
    return found


def note_ping(watch: Watch, pair: int, now: float) -> None:
    """A PING is sent; the first without an answer starts the clock of SDOWN."""
    watch.last_ping[pair] = now
    if watch.first_ping[pair] == NEVER:
        watch.first_ping[pair] = now


def note_pong(watch: Watch, sentinel: int, instance: int, now: float) -> None:
    """A PING is answered."""
    pair = sentinel * watch.instances + instance
    watch.connected[pair] = 1
    watch.first_ping[pair] = NEVER
    watch.last_pong[pair] = now


def peaceful(watch: Watch, sentinel: int, down_after: float, now: float) -> bool:
    """Whether a tick of ``sentinel`` has nothing to do but to ask: nothing is down, nobody fails over."""
    gap = now - watch.previous_tick[sentinel]
    if gap < 0 or gap > TILT_TRIGGER or watch.tilt_since[sentinel] > NEVER:
        return False
    if watch.odown[sentinel] != 0 or watch.failover[sentinel] != IDLE:
        return False
    for instance in range(watch.instances):
        pair = sentinel * watch.instances + instance
        if watch.sdown[pair] != 0 or watch.connected[pair] == 0:
            return False
        if watch.first_ping[pair] > NEVER and now - watch.first_ping[pair] > down_after:
            return False
        if instance == watch.primary[sentinel] and watch.info_primary[pair] == 0:
            return False
    for other in range(watch.sentinels):
        pair = sentinel * watch.sentinels + other
        if other != sentinel and (watch.says_down[pair] != 0 or watch.says_leader[pair] >= 0):
            return False
    return True


def link_down(watch: Watch, instance: int, now: float) -> float:
    """Seconds since which the link of ``instance`` to its primary is down, as INFO says; 0 if it is up."""
    since = watch.link_down_since[instance]
    return 0.0 if since == NEVER else max(now - since, 1e-3)


def info_is_news(watch: Watch, sentinel: int, instance: int, source: int, primary: int) -> bool:
    """Whether more follows from an INFO than a note of it: a replica with another role or primary."""
    if watch.tilt_since[sentinel] > NEVER or instance == watch.primary[sentinel]:
        return False
    pair = sentinel * watch.instances + instance
    return primary != 0 or watch.reconf[pair] == RECONF_SENT or source != watch.primary[sentinel]


def note_info(
    watch: Watch,
    sentinel: int,
    instance: int,
    source: int,
    primary: int,
    offset: int,
    down: float,
    now: float,
) -> None:
    """What ``instance`` says of itself: whose replica it is, whether primary, how far, its link."""
    pair = sentinel * watch.instances + instance
    watch.info_at[pair] = now
    watch.info_offset[pair] = offset
    watch.info_link_down[pair] = down
    if primary != watch.info_primary[pair] or source != watch.info_source[pair]:
        watch.info_primary[pair] = primary
        watch.info_source[pair] = source
        watch.role_since[pair] = now


def hello_is_news(watch: Watch, sentinel: int, epoch: int, config_epoch: int) -> bool:
    """Whether a HELLO tells of an epoch or a configuration that ``sentinel`` does not know."""
    return epoch > watch.epoch[sentinel] or config_epoch > watch.config_epoch[sentinel]


def primary_known(watch: Watch, sentinel: int) -> int:
    """Answer of SENTINEL get-master-addr-by-name: the promoted instance as soon as its role was seen."""
    if watch.failover[sentinel] >= RECONF_REPLICAS:
        return watch.promoted[sentinel]
    return watch.primary[sentinel]
