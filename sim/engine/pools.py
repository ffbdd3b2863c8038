"""Request threads and database connections of one identity service."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from sim.protocols import pool

Steps = Generator[simpy.Event, Any, Any]

MINIMUM_IDLE = 8
"""Idle connections kept (HikariCP minimum-idle, facts/iam.md section 6)."""

IDLE_WITHOUT_TEST = 0.5
"""A connection used less than this many seconds ago is handed out untested (HikariCP)."""

FIRST_RETRY = 0.25
LONGEST_RETRY = 10.0
RETRY_FACTOR = 1.5
ROUNDING = 1e-9
"""Seconds before the end of a sleep that count as its end: sums of times are rounded."""
"""Pause in seconds between attempts to open a connection while they fail; it grows by the factor
(HikariCP's pool entry creator, which sleeps 250 ms first and up to 10 s)."""


class Threads:
    """Counted threads with a first-come-first-served queue."""

    def __init__(self, env: simpy.Environment, size: int) -> None:
        self._env = env
        self._pool = pool.new_pool(size)
        self._waiting: dict[int, simpy.Event] = {}
        self._tickets = 0

    @property
    def busy(self) -> int:
        """Threads in use."""
        return self._pool.busy

    def acquire(self, timeout: float | None = None) -> Steps:
        """Take one; True when it was got, False after ``timeout`` seconds."""
        self._tickets += 1
        ticket = self._tickets
        if pool.acquire(self._pool, ticket, self._env.now):
            return True
        event = self._waiting[ticket] = self._env.event()
        try:
            if timeout is None:
                yield event
                return True
            yield self._env.any_of([event, self._env.timeout(timeout)])
        except simpy.Interrupt:
            if not self._forget(ticket):
                self.release()
            raise
        return event.triggered or not self._forget(ticket)

    def release(self) -> None:
        """Give one back."""
        ticket = pool.release(self._pool, self._env.now)
        if ticket >= 0:
            self._waiting.pop(ticket).succeed()

    def _forget(self, ticket: int) -> bool:
        self._waiting.pop(ticket, None)
        return pool.expire(self._pool, ticket)


class Connections:
    """A HikariCP pool to one database member.

    A connection that breaks is thrown away. While the member serves nobody a new one cannot be
    opened, and requests wait for one until the pool's timeout. One thread opens connections for all of
    them (HikariPool.PoolEntryCreator): after a failure it sleeps, each time longer, and notices only when
    it wakes up that the member is back, after an outage of 12 s up to 6 s later.

    Args:
        env: the clock.
        size: maximum-pool-size.
        timeout: connection-timeout in seconds.
        serving: whether the member would accept a connection and answer the test query now.
        opening: whether a new connection would be opened now; by default if the member is serving.
        hanging: whether the attempt would get no answer at all; by default it is refused.
    """

    def __init__(
        self,
        env: simpy.Environment,
        size: int,
        timeout: float,
        serving: Callable[[], bool],
        opening: Callable[[], bool] | None = None,
        hanging: Callable[[], bool] = lambda: False,
    ) -> None:
        self._env = env
        self._slots = Threads(env, size)
        self._timeout = timeout
        self._serving = serving
        self._opening = opening or serving
        self._hanging = hanging
        self._idle = [-1.0] * min(size, MINIMUM_IDLE)
        self._pause = 0.0  # of the thread that opens connections, after its last failure; 0: it had none
        self._next = 0.0

    @property
    def busy(self) -> int:
        """Connections in use or being waited for."""
        return self._slots.busy

    def acquire(self) -> Steps:
        """Take a connection; False when none could be had in time."""
        start = self._env.now
        got: bool = yield from self._slots.acquire(self._timeout)
        if not got:
            return False
        if self._usable():
            return True
        try:
            while not self._open():
                left = start + self._timeout - self._env.now
                if left <= 0:
                    self._slots.release()
                    return False
                yield self._env.timeout(min(self._next - self._env.now, left))
        except simpy.Interrupt:
            self._slots.release()
            raise
        return True

    def _open(self) -> bool:
        """Whether the one thread that opens connections gets one now; after a failure it sleeps."""
        now = self._env.now
        if self._pause and now < self._next - ROUNDING:
            return False
        if self._opening():
            self._pause = 0.0
            return True
        if self._hanging():
            # No failure yet: the attempt under way succeeds when the member goes on, give or take a look.
            self._pause = self._pause or FIRST_RETRY
            self._next = now + FIRST_RETRY
            return False
        self._pause = min(LONGEST_RETRY, self._pause * RETRY_FACTOR) if self._pause else FIRST_RETRY
        self._next = now + min(self._pause, self._timeout)
        return False

    def release(self, broken: bool = False) -> None:
        """Give a connection back, or throw it away."""
        if not broken:
            self._idle.append(self._env.now)
        self._slots.release()

    def _usable(self) -> bool:
        """Take the idle connection used last; those that fail the test on the way are thrown away."""
        serving = self._serving()
        while self._idle:
            used = self._idle.pop()
            if serving or (used >= 0 and self._env.now - used <= IDLE_WITHOUT_TEST):
                return True
        return False
