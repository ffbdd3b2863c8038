"""What Redis sentinels know of instances and of one another; rules: :mod:`sim.protocols.sentinel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sim.protocols.tables import Floats, Ints

PING, PONG, INFO, INFO_REPLY, ASK, VOTE, SLAVEOF, HELLO = range(8)
"""Messages; ASK is `is-master-down-by-addr` and VOTE its answer."""

IDLE, WAIT_START, SELECT_REPLICA, SEND_PROMOTION, WAIT_PROMOTION, RECONF_REPLICAS, UPDATE_CONFIG = range(7)
"""States of a failover at the sentinel that tries it."""

PING_PERIOD = 1.0
INFO_PERIOD = 10.0
FAST_INFO_PERIOD = 1.0
ASK_PERIOD = 1.0
PUBLISH_PERIOD = 2.0
ELECTION_TIMEOUT = 10.0
MAX_DESYNC = 1.0
RECONF_TIMEOUT = 10.0
TILT_TRIGGER = 2.0
TILT_PERIOD = 30.0

SYNC_ROUND_TRIPS = 4
"""From SLAVEOF to a working link: connect, PING, AUTH and REPLCONF together, PSYNC (syncWithMaster)."""

MESSAGE_BYTES = (80, 60, 70, 4000, 150, 120, 200, 250)
"""Bytes on the wire by kind (orders of magnitude)."""


class Settings(NamedTuple):
    """Settings of the monitored primary, with Sentinel's defaults (components.md 3.1).

    Attributes:
        quorum: sentinels that must agree on ODOWN.
        down_after: `down-after-milliseconds`, in seconds.
        failover_timeout: `failover-timeout`, in seconds.
        parallel_syncs: replicas repointed at a time.
        sync_time: seconds from SLAVEOF to a working link: Redis 7.0 connects at once (replicationSetMaster)
            and needs `SYNC_ROUND_TRIPS`.
    """

    quorum: int
    down_after: float = 30.0
    failover_timeout: float = 180.0
    parallel_syncs: int = 1
    sync_time: float = 0.0


class Message(NamedTuple):
    """A message between a sentinel and a Redis instance or another sentinel.

    Attributes:
        kind: see the constants.
        source: index of the sender.
        target: index of the receiver; sentinels and instances are numbered separately.
        to_instance: 1 when the target is a Redis instance.
        epoch: epoch of the vote (ASK, VOTE) or current epoch (HELLO).
        config_epoch: HELLO: epoch of the configuration.
        candidate: sentinel voted for (-1: none); the primary in HELLO, SLAVEOF (-1: NO ONE) and INFO_REPLY.
        flag: VOTE: 1 if the primary is down for the sender; INFO_REPLY: 1 if the role is primary.
        offset: INFO_REPLY: replication offset.
        link_down: INFO_REPLY: seconds since the link to the primary is down, 0 when it is up.
    """

    kind: int
    source: int
    target: int
    to_instance: int
    epoch: int = 0
    config_epoch: int = 0
    candidate: int = -1
    flag: int = 0
    offset: int = 0
    link_down: float = 0.0


class Event(NamedTuple):
    """A log line of a sentinel: `+sdown`, `+odown`, `+try-failover`, `+vote-for-leader`, `+switch-master` ...

    ``detail`` is the instance (or the sentinel voted for, or the epoch) it is about.
    """

    sentinel: int
    kind: str
    detail: int


class Step(NamedTuple):
    """Messages to carry, events to log, and (instance, new primary or -1) role changes."""

    sends: list[Message]
    events: list[Event]
    roles: list[tuple[int, int]]


@dataclass
class Watch:
    """State of all sentinels and Redis instances.

    Comments name the index of each group of lists; pairs are ``sentinel * instances + instance`` and
    ``sentinel * sentinels + other``.
    """

    sentinels: int
    instances: int
    settings: Settings
    # by sentinel
    epoch: Ints
    config_epoch: Ints
    primary: Ints
    voted_for: Ints
    voted_epoch: Ints
    odown: Ints
    failover: Ints
    failover_epoch: Ints
    failover_start: Floats
    state_changed: Floats
    promoted: Ints
    previous_tick: Floats
    tilt_since: Floats
    # by sentinel and instance; a time of -1e18 means never
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
    sdown_since: Floats
    published: Floats
    reconf: Ints
    reconf_at: Floats
    # by sentinel and other sentinel
    says_down: Ints
    says_leader: Ints
    says_epoch: Ints
    replied: Floats
    # by instance
    alive: Ints
    role: Ints
    offset: Ints
    link_down_since: Floats
    syncing: Ints
    rank: Floats  # order of the run IDs, which a process draws at its start


NEVER = -1e18

ROLE_PRIMARY = -1
"""Value of ``Watch.role`` of a primary; a replica's is the instance it replicates from."""

RECONF_SENT, RECONF_DONE = 1, 2
"""How far a replica is on its way to the new primary (0: not begun)."""


def new_watch(sentinels: int, instances: int, primary: int, settings: Settings, now: float = 0.0) -> Watch:
    """A healthy deployment: all links up, all other instances replicate from ``primary``."""
    pairs, votes = sentinels * instances, sentinels * sentinels
    roles = [ROLE_PRIMARY if i == primary else primary for i in range(instances)]
    return Watch(
        sentinels=sentinels,
        instances=instances,
        settings=settings,
        epoch=[0] * sentinels,
        config_epoch=[0] * sentinels,
        primary=[primary] * sentinels,
        voted_for=[-1] * sentinels,
        voted_epoch=[0] * sentinels,
        odown=[0] * sentinels,
        failover=[IDLE] * sentinels,
        failover_epoch=[0] * sentinels,
        failover_start=[NEVER] * sentinels,
        state_changed=[now] * sentinels,
        promoted=[-1] * sentinels,
        previous_tick=[now] * sentinels,
        tilt_since=[NEVER] * sentinels,
        connected=[1] * pairs,
        reconnect_tried=[NEVER] * pairs,
        first_ping=[NEVER] * pairs,
        last_ping=[now] * pairs,
        last_pong=[now] * pairs,
        info_sent=[NEVER] * pairs,
        info_at=[now] * pairs,
        info_primary=[int(role == ROLE_PRIMARY) for role in roles] * sentinels,
        info_source=list(roles) * sentinels,
        info_offset=[0] * pairs,
        info_link_down=[0.0] * pairs,
        role_since=[now] * pairs,
        sdown=[0] * pairs,
        sdown_since=[NEVER] * pairs,
        published=[now] * pairs,
        reconf=[0] * pairs,
        reconf_at=[NEVER] * pairs,
        says_down=[0] * votes,
        says_leader=[-1] * votes,
        says_epoch=[0] * votes,
        replied=[NEVER] * votes,
        alive=[1] * instances,
        role=list(roles),
        offset=[0] * instances,
        link_down_since=[NEVER] * instances,
        syncing=[0] * instances,
        rank=[float(i) for i in range(instances)],
    )
