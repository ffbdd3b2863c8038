"""MariaDB asynchronous and semi-synchronous replication: who waits for whom, and what a promotion loses.

Positions count transactions (1, 2, 3 ...). The engine carries events to the replicas with the link's delay.
Source: components.md section 2 (MariaDB 10.11 defaults from the binary, measured there).

Example:
    >>> source = new_source(replicas=1, semi_sync=True)
    >>> commit = write(source, now=0.0)
    >>> commit.position, commit.waits_until            # answer when acknowledged, or at the timeout
    (1, 10.0)
    >>> acknowledged(source, replica=0, position=1)
    [1]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

NET_TIMEOUT = 60.0
"""`slave_net_timeout`: a replica notices a silent link after it (heartbeats come every half of it)."""

CONNECT_RETRY = 60.0
"""`MASTER_CONNECT_RETRY`: seconds between the replica's attempts to reconnect."""


@dataclass
class Source:
    """The primary's state.

    Attributes:
        semi_sync: whether it is configured.
        timeout: `rpl_semi_sync_master_timeout` in seconds.
        active: whether commits wait now (`Rpl_semi_sync_master_status`).
        position: last transaction committed.
        acked: last position acknowledged by any replica.
        received: by replica, last position in its relay log.
        applied: by replica, last position visible there.
        applier_free: by replica, when its SQL thread is free again.
        connected: by replica, whether its IO thread is connected.
        waiting: positions whose client still waits, ascending.
    """

    semi_sync: bool
    timeout: float
    active: bool
    position: int
    acked: int
    received: list[int]
    applied: list[int]
    applier_free: list[float]
    connected: list[bool]
    waiting: list[int] = field(default_factory=list)


class Commit(NamedTuple):
    """A transaction: its position, and until when its client may have to wait (-inf: answer at once)."""

    position: int
    waits_until: float


def new_source(replicas: int, semi_sync: bool = False, timeout: float = 10.0) -> Source:
    """A primary whose replicas have caught up and are connected."""
    return Source(
        semi_sync,
        timeout,
        semi_sync and replicas > 0,
        0,
        0,
        [0] * replicas,
        [0] * replicas,
        [0.0] * replicas,
        [True] * replicas,
    )


def write(source: Source, now: float) -> Commit:
    """A transaction commits locally at the primary. Its events are to be sent to every connected replica.

    With AFTER_COMMIT (MariaDB's default wait point) others can read it before the acknowledgement.
    """
    source.position += 1
    if not source.active:
        return Commit(source.position, -inf)
    source.waiting.append(source.position)
    return Commit(source.position, now + source.timeout)


def received(source: Source, replica: int, position: int) -> bool:
    """The replica has written events up to ``position`` to its relay log. True: send an acknowledgement."""
    source.received[replica] = max(source.received[replica], position)
    return source.semi_sync


def acknowledged(source: Source, replica: int, position: int) -> list[int]:
    """An acknowledgement reached the primary: positions whose clients are answered now.

    One replica is enough. A degraded primary waits again once a replica has caught up.
    """
    source.acked = max(source.acked, position)
    if source.semi_sync and not source.active and source.acked >= source.position:
        source.active = True
    return _answer(source, source.acked)


def timed_out(source: Source, position: int) -> list[int]:
    """The wait of ``position`` timed out: semi-sync switches itself off, all waiting clients are answered."""
    if position not in source.waiting:
        return []
    source.active = False
    return _answer(source, source.position)


def apply(source: Source, replica: int, position: int, cost: float, now: float) -> float:
    """The serial SQL thread (`slave_parallel_threads=0`) gets ``position`` at ``now``: when it is visible."""
    done = max(now, source.applier_free[replica]) + cost
    source.applier_free[replica] = done
    return done


def visible(source: Source, replica: int, position: int) -> None:
    """``position`` was applied at ``replica``."""
    source.applied[replica] = max(source.applied[replica], position)


def disconnected(source: Source, replica: int) -> None:
    """The replica's IO thread lost the primary (noticed after NET_TIMEOUT of silence)."""
    source.connected[replica] = False


def reconnected(source: Source, replica: int) -> list[int]:
    """The IO thread is back: positions to send it again, in order."""
    source.connected[replica] = True
    return list(range(source.received[replica] + 1, source.position + 1))


def reconnect_at(cut: float, healed: float, phase: float) -> float:
    """When a replica whose link was dead from ``cut`` to ``healed`` gets events again.

    Short cuts are bridged by TCP (see :func:`sim.protocols.tcp.resumed_after`): call this only when the cut
    outlasted NET_TIMEOUT. The silence is noticed NET_TIMEOUT after the last event or heartbeat, which came
    ``phase`` seconds before the cut, then a connect is tried every CONNECT_RETRY.
    """
    noticed = cut - phase + NET_TIMEOUT
    if healed <= noticed:
        return noticed
    tries = -(-(healed - noticed) // CONNECT_RETRY)
    return noticed + tries * CONNECT_RETRY


def best_replica(source: Source, alive: list[bool]) -> int:
    """The replica to promote: the live one that received most (MaxScale: gtid_IO_pos first), or -1."""
    best = -1
    for replica, is_alive in enumerate(alive):
        if is_alive and (best < 0 or source.received[replica] > source.received[best]):
            best = replica
    return best


def lost_on_promotion(source: Source, replica: int) -> list[int]:
    """Positions committed at the primary that the promoted replica never received, in order."""
    return list(range(source.received[replica] + 1, source.position + 1))


def _answer(source: Source, up_to: int) -> list[int]:
    done = [position for position in source.waiting if position <= up_to]
    source.waiting = [position for position in source.waiting if position > up_to]
    return done
