"""A pool of equal resources handed out first come, first served, with a limit on the wait.

Models request threads (embedded Tomcat: 200, no limit on the wait) and database connections
(HikariCP: 50, `connectionTimeout` 30 s; facts/iam.md section 6).

Example:
    >>> pool = new_pool(1, timeout=30.0)
    >>> acquire(pool, ticket=1, now=0.0)
    True
    >>> acquire(pool, ticket=2, now=0.0)       # schedule expire(pool, 2) at 0.0 + pool.timeout
    False
    >>> release(pool, now=5.0)                 # the ticket that holds it now, or -1
    2
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf


@dataclass
class Pool:
    """State of one pool.

    Attributes:
        capacity: how many there are.
        timeout: seconds a ticket may wait before the caller must :func:`expire` it.
        backlog: tickets that may wait; more are refused (Tomcat's accept queue).
        busy: how many are in use.
        waiting: tickets in order of arrival, those that gave up included.
        since: when each ticket that still waits has come.
    """

    capacity: int
    timeout: float = inf
    backlog: float = inf
    busy: int = 0
    waiting: deque[int] = field(default_factory=deque)
    since: dict[int, float] = field(default_factory=dict)


def new_pool(capacity: int, timeout: float = inf, backlog: float = inf) -> Pool:
    """An idle pool."""
    return Pool(capacity, timeout, backlog)


def acquire(pool: Pool, ticket: int, now: float) -> bool:
    """Ask for one: True when ``ticket`` has it now, False when it waits (or :func:`is_full`)."""
    if pool.busy < pool.capacity and not pool.since:
        pool.busy += 1
        return True
    if not is_full(pool):
        pool.waiting.append(ticket)
        pool.since[ticket] = now
    return False


def is_full(pool: Pool) -> bool:
    """Whether the next request would neither get one nor be allowed to wait."""
    return pool.busy >= pool.capacity and len(pool.since) >= pool.backlog


def release(pool: Pool, now: float) -> int:
    """Give one back. Returns the waiting ticket that gets it, or -1.

    Raises:
        ValueError: none was in use.
    """
    if pool.busy == 0:
        raise ValueError("release of a pool with nothing in use")
    while pool.waiting:
        ticket = pool.waiting.popleft()
        if ticket in pool.since:
            del pool.since[ticket]
            return ticket
    pool.busy -= 1
    return -1


def expire(pool: Pool, ticket: int) -> bool:
    """``ticket`` gives up. True when it was still waiting; False when it already has its resource."""
    return pool.since.pop(ticket, None) is not None


def clear(pool: Pool) -> list[int]:
    """The process died: forget everything. Returns the tickets that were waiting, in order."""
    lost = [ticket for ticket in pool.waiting if ticket in pool.since]
    pool.waiting.clear()
    pool.since.clear()
    pool.busy = 0
    return lost
