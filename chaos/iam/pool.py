"""The connection pool, with the behaviour of HikariCP 4.0 that decides how an outage is felt.

What carries over, from HikariPool.java and facts/iam.md section 6: at most 50 connections, 8 kept
idle; a request waits up to 30 s for one; a connection idle for more than 0.5 s is tested with
`SELECT 1` before use; an error of SQLSTATE class 08 evicts the connection; connections are made by
ONE background thread, which after a failure sleeps 0.25 s, then 1.5 times longer each time up to
10 s. The last point means that a replica may notice a healed database up to 10 s late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chaos.iam.connection import Connection
from chaos.iam.errors import DatabaseError, OAuthError, PoolTimeoutError

FIRST_BACKOFF = 0.25
BACKOFF_FACTOR = 1.5
LONGEST_BACKOFF = 10.0
"""Seconds between attempts to connect (HikariPool.PoolEntryCreator)."""

IDLE_WITHOUT_TEST = 0.5
"""Seconds a connection may rest and still be handed out untested (HikariPool aliveBypassWindowMs)."""

VALIDATION_TIMEOUT = 5.0
MAX_LIFETIME = 1800.0


@dataclass(slots=True)
class _Entry:
    connection: Connection
    born: float
    used: float


@dataclass
class Pool:
    """Connections shared by the request threads.

    Attributes:
        connect: makes one connection, or raises `DatabaseError`.
        size: most connections at once.
        minimum_idle: how many idle ones the background thread keeps ready.
        timeout: seconds a request waits for a connection.
    """

    connect: Callable[[], Connection]
    size: int = 50
    minimum_idle: int = 8
    timeout: float = 30.0
    _idle: list[_Entry] = field(default_factory=list, init=False)
    _total: int = field(default=0, init=False)
    _waiting: int = field(default=0, init=False)
    _failure: DatabaseError | None = field(default=None, init=False)
    _creating: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._available = threading.Condition(self._lock)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; a fatal error inside the block evicts it.

        Raises:
            PoolTimeoutError: none became free in time.
        """
        entry = self._take()
        try:
            yield entry.connection
        except DatabaseError as error:
            self._give_back(entry, evict=error.fatal)
            raise
        except OAuthError:
            self._give_back(entry, evict=False)
            raise
        except BaseException:
            # Whatever state the session is in, nobody else should inherit it.
            self._give_back(entry, evict=True)
            raise
        else:
            self._give_back(entry, evict=False)

    def fill(self) -> None:
        """Start making the idle connections in the background."""
        with self._lock:
            self._ensure_creator()

    def close(self) -> None:
        """Close what is idle and stop making more; connections on loan close when they come back."""
        with self._lock:
            self._closed = True
            entries, self._idle = self._idle, []
            self._total -= len(entries)
            self._available.notify_all()
        for entry in entries:
            entry.connection.close()

    def _take(self) -> _Entry:
        deadline = time.monotonic() + self.timeout
        while True:
            with self._lock:
                while not self._idle:
                    self._wait(deadline)
                entry = self._idle.pop()
            now = time.monotonic()
            if now - entry.born < MAX_LIFETIME and (
                now - entry.used <= IDLE_WITHOUT_TEST or entry.connection.alive(VALIDATION_TIMEOUT)
            ):
                return entry
            self._give_back(entry, evict=True)

    def _wait(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or self._closed:
            raise PoolTimeoutError(self.timeout, f": {self._failure}" if self._failure else "")
        self._waiting += 1
        try:
            self._ensure_creator()
            self._available.wait(remaining)
        finally:
            self._waiting -= 1

    def _give_back(self, entry: _Entry, *, evict: bool) -> None:
        with self._lock:
            if not evict and not self._closed:
                entry.used = time.monotonic()
                self._idle.append(entry)
                self._available.notify()
                return
            self._total -= 1
            self._ensure_creator()
        entry.connection.close()

    def _wanted(self) -> bool:
        return (
            not self._closed
            and self._total < self.size
            and (self._waiting > len(self._idle) or len(self._idle) < self.minimum_idle)
        )

    def _ensure_creator(self) -> None:
        if not self._creating and self._wanted():
            self._creating = True
            threading.Thread(target=self._create, name="pool", daemon=True).start()

    def _create(self) -> None:
        backoff = FIRST_BACKOFF
        while True:
            with self._lock:
                if not self._wanted():
                    self._creating = False
                    return
            try:
                connection = self.connect()
            except DatabaseError as error:
                self._failure = error
                time.sleep(min(backoff, self.timeout))
                backoff = min(LONGEST_BACKOFF, backoff * BACKOFF_FACTOR)
                continue
            backoff = FIRST_BACKOFF
            now = time.monotonic()
            with self._lock:
                self._failure = None
                self._total += 1
                self._idle.append(_Entry(connection, now, now))
                self._available.notify()
