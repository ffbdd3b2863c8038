"""Redis Sentinel: agreeing that the primary is down, electing a leader, promoting a replica.

Each sentinel runs :func:`tick` every 50-100 ms (``hz = 10 + rand % 10``) and exchanges real messages, so that
a split vote over a long link comes out of two self-votes that cross. Redis instances are also here
(:class:`Messages <Message>` PING, INFO, SLAVEOF and their answers). Random parts (the desync of
failover_start_time) come in as arguments. Source: redis 7.0 src/sentinel.c, components.md section 3. Seconds.

Engine loop:
    every tick period of sentinel s:   step = tick(watch, s, now, desync)      # desync uniform in [0, 1)
    message for a Redis instance i:    step = instance_receive(watch, i, message, now)
    message for a sentinel s:          step = receive(watch, s, message, now, desync)
    for each: carry step.sends (message.to_instance says which kind of target), log step.events.
    kill of instance i (connection reset seen by s): disconnected(watch, s, i, now); crash(watch, i); back: start(watch, i)
Clients ask ``primary_known(watch, s)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PING, PONG, INFO, INFO_REPLY, ASK, VOTE, SLAVEOF, HELLO = range(8)
"""Messages; ASK is `is-master-down-by-addr` and VOTE its answer."""


class Settings(NamedTuple):
    """Settings of the monitored primary with Sentinel's defaults (components.md 3.1)."""

    quorum: int
    down_after: float = 30.0
    failover_timeout: float = 180.0
    parallel_syncs: int = 1


class Message(NamedTuple):
    """A message between a sentinel and a Redis instance or another sentinel.

    Attributes:
        kind: see the constants.
        source, target: indices (instances and sentinels are numbered separately).
        to_instance: 1 when the target is a Redis instance.
        epoch: current epoch (ASK, VOTE: of the vote; HELLO: configuration epoch).
        candidate: sentinel that is voted for (-1: none), or the primary (SLAVEOF: -1 for NO ONE; HELLO).
        down: VOTE: 1 if the primary is down for the answering sentinel; INFO_REPLY: 1 if role is primary.
        offset: INFO_REPLY: replication offset.
    """

    kind: int
    source: int
    target: int
    to_instance: int
    epoch: int
    candidate: int
    down: int
    offset: int


class Event(NamedTuple):
    """A log line of a sentinel: +sdown, +odown, +try-failover, +vote-for-leader, +elected-leader, +switch-master ..."""

    sentinel: int
    kind: str
    detail: int


class Step(NamedTuple):
    """Messages to carry and events to log."""

    sends: list[Message]
    events: list[Event]


@dataclass
class Watch:
    """State of all sentinels and Redis instances."""

    sentinels: int
    instances: int
    settings: Settings


def new_watch(sentinels: int, instances: int, primary: int, settings: Settings, now: float = 0.0) -> Watch:
    """A healthy deployment: all links up, instance ``primary`` is the primary and all others replicate from it."""
    raise NotImplementedError


def tick(watch: Watch, sentinel: int, now: float, desync: float) -> Step:
    """The timer of ``sentinel`` fires."""
    raise NotImplementedError


def receive(watch: Watch, sentinel: int, message: Message, now: float, desync: float) -> Step:
    """``sentinel`` gets a message."""
    raise NotImplementedError


def instance_receive(watch: Watch, instance: int, message: Message, now: float) -> Step:
    """A Redis instance gets a message of a sentinel."""
    raise NotImplementedError


def disconnected(watch: Watch, sentinel: int, instance: int, now: float) -> None:
    """The connection of ``sentinel`` to ``instance`` was reset or refused (its process was killed)."""
    raise NotImplementedError


def connected(watch: Watch, sentinel: int, instance: int, now: float) -> None:
    """The connection works again (tried at most once per ping period)."""
    raise NotImplementedError


def primary_known(watch: Watch, sentinel: int) -> int:
    """Answer of SENTINEL get-master-addr-by-name: an instance."""
    raise NotImplementedError
