"""InnoDB row locks, as far as they decide what happens in the identity service's database.

One table of locks per member. A *resource* is an int: a row, or a range such as the whole of token_scope.
Modes: INSERT (insert intention: many at once), RANGE (what the clear-access-tokens DELETE takes on the whole
table, supremum included: keeps inserts out and other ranges too), RECORD (exclusive lock on one row).

Example:
    >>> locks = new_locks()
    >>> acquire(locks, tx=1, resource=0, mode=RANGE).granted
    True
    >>> acquire(locks, tx=2, resource=0, mode=INSERT).granted      # T1': waits for the refresh
    False
    >>> release(locks, tx=1)
    [(2, 0)]
"""

from __future__ import annotations

from typing import NamedTuple

INSERT, RANGE, RECORD = 0, 1, 2

LOCK_WAIT_TIMEOUT = 50.0
"""`innodb_lock_wait_timeout` in seconds; error 1205 after it."""


class Locks(NamedTuple):
    """Locks of one member: holders and waiting requests per resource, in order of arrival."""

    holders: dict[int, list[tuple[int, int]]]
    waiting: dict[int, list[tuple[int, int]]]
    held_by: dict[int, list[int]]
    waits_for: dict[int, int]


class Acquired(NamedTuple):
    """``granted`` now, or waiting; ``victim`` is a transaction to roll back to break a deadlock, or -1."""

    granted: bool
    victim: int


def new_locks() -> Locks:
    """No locks."""
    raise NotImplementedError


def acquire(locks: Locks, tx: int, resource: int, mode: int, weights: dict[int, int] | None = None) -> Acquired:
    """``tx`` asks for a lock; it waits first come first served behind incompatible locks and requests.

    ``weights`` (rows changed + locks held, by transaction) choose the deadlock victim: the lightest, the requester on ties.
    """
    raise NotImplementedError


def release(locks: Locks, tx: int) -> list[tuple[int, int]]:
    """``tx`` ends (commit, rollback, or gave up waiting). Returns the requests granted now as (tx, resource), in order."""
    raise NotImplementedError


def brute_force(locks: Locks, resource: int, mode: int, *, appliers: frozenset[int] = frozenset()) -> list[int]:
    """Local transactions an applier must abort to get the lock (holders in its way that are not appliers).

    The caller aborts them (`certification.brute_force` says how), calls :func:`release`, then :func:`acquire` with
    :func:`acquire_first` so that the applier passes everyone who waits.
    """
    raise NotImplementedError


def acquire_first(locks: Locks, tx: int, resource: int, mode: int) -> Acquired:
    """Like :func:`acquire` for an applier: in front of all waiting requests."""
    raise NotImplementedError
