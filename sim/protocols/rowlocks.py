"""InnoDB row locks, as far as they decide what happens in the identity service's database.

One table of locks per member. A *resource* is an int: a row, or a range such as the whole of token_scope.
Modes: INSERT (insert intention, then the new row: many at once), RANGE (what the clear-access-tokens DELETE
takes at REPEATABLE READ: exclusive next-key locks on all rows and the supremum, so it keeps inserts and other
ranges out, and waits for uncommitted inserts), RECORD (exclusive lock on one row).
Requests queue per resource. A scan that waits for a row has not come to the end of the index: inserts do not
wait behind it, so that it comes to an end when no insert is open.
Source: pairs T1, T1', T9 measured in facts/iam.md 2.1; InnoDB lock0lock (waiting requests count too).

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
    """Locks of one member.

    Attributes:
        holders: by resource, (transaction, mode) of the granted locks.
        waiting: by resource, (transaction, mode) of the requests, in the order they will be served.
        held: by transaction, resources it holds a lock on.
        blocked: by transaction, the resource it waits for.
    """

    holders: dict[int, list[tuple[int, int]]]
    waiting: dict[int, list[tuple[int, int]]]
    held: dict[int, list[int]]
    blocked: dict[int, int]


class Acquired(NamedTuple):
    """Answer to a request.

    Attributes:
        granted: has the lock now; otherwise it waits.
        victim: transaction to roll back to break a deadlock (maybe the requester), -1 for none.
    """

    granted: bool
    victim: int


def new_locks() -> Locks:
    """No locks."""
    return Locks({}, {}, {}, {})


def compatible(held: int, wanted: int) -> bool:
    """Whether different transactions can hold two modes on one resource: only inserts can."""
    return held == INSERT and wanted == INSERT


def passes(wanted: int, ahead: int) -> bool:
    """Whether a request need not wait behind another one: an insert looks only at the gap it goes into."""
    return compatible(ahead, wanted) or (wanted == INSERT and ahead == RANGE)


def acquire(
    locks: Locks, tx: int, resource: int, mode: int, weights: dict[int, int] | None = None
) -> Acquired:
    """``tx`` asks for a lock; it waits first come, first served behind incompatible locks and requests.

    Args:
        locks: the member's locks.
        tx: a transaction that waits for nothing else.
        resource: what to lock.
        mode: INSERT, RANGE or RECORD.
        weights: rows changed plus locks held, by transaction: of a deadlock the lightest is the victim, the
            requester on ties. The victim's rollback is the caller's: :func:`release` it.

    Raises:
        ValueError: ``tx`` already waits.
    """
    return _request(locks, tx, resource, mode, weights or {}, in_front=False)


def acquire_first(locks: Locks, tx: int, resource: int, mode: int) -> Acquired:
    """Like :func:`acquire` for an applier: in front of all waiting requests of local transactions."""
    return _request(locks, tx, resource, mode, {}, in_front=True)


def release(locks: Locks, tx: int) -> list[tuple[int, int]]:
    """``tx`` ends (commit, rollback) : its locks and its request go.

    Returns:
        The requests granted now as (transaction, resource), in order.
    """
    touched = locks.held.pop(tx, [])
    for resource in touched:
        locks.holders[resource] = [lock for lock in locks.holders[resource] if lock[0] != tx]
    if tx in locks.blocked:
        touched = [*touched, _withdraw(locks, tx)]
    granted: list[tuple[int, int]] = []
    for resource in touched:
        granted += _serve(locks, resource)
    return granted


def give_up(locks: Locks, tx: int) -> list[tuple[int, int]]:
    """``tx`` stops waiting (error 1205 rolls back the statement only); it keeps the locks it has.

    Returns:
        The requests behind it that are granted now.
    """
    return _serve(locks, _withdraw(locks, tx)) if tx in locks.blocked else []


def brute_force(
    locks: Locks, tx: int, resource: int, mode: int, appliers: frozenset[int] = frozenset()
) -> list[int]:
    """Local transactions an applier must abort to get the lock.

    Holders in its way that are neither itself nor in ``appliers``. The caller aborts them as
    `certification.brute_force` says, calls :func:`release` for each, then :func:`acquire_first`.
    """
    return [
        holder
        for holder, held in locks.holders.get(resource, [])
        if holder != tx and holder not in appliers and not compatible(held, mode)
    ]


def _request(
    locks: Locks, tx: int, resource: int, mode: int, weights: dict[int, int], in_front: bool
) -> Acquired:
    if tx in locks.blocked:
        raise ValueError(f"transaction {tx} already waits for {locks.blocked[tx]}")
    holders = locks.holders.setdefault(resource, [])
    mine = [held for holder, held in holders if holder == tx]
    if any(held == mode or held != INSERT for held in mine):
        return Acquired(True, -1)
    queue = locks.waiting.setdefault(resource, [])
    free = all(holder == tx or compatible(held, mode) for holder, held in holders)
    if free and (in_front or all(passes(mode, wanted) for _, wanted in queue)):
        _grant(locks, tx, resource, mode)
        return Acquired(True, -1)
    queue.insert(0 if in_front else len(queue), (tx, mode))
    locks.blocked[tx] = resource
    cycle = _cycle(locks, tx)
    if not cycle:
        return Acquired(False, -1)
    victim = tx
    for other in cycle:
        if weights.get(other, 0) < weights.get(victim, 0):
            victim = other
    return Acquired(False, victim)


def _grant(locks: Locks, tx: int, resource: int, mode: int) -> None:
    locks.holders[resource].append((tx, mode))
    locks.held.setdefault(tx, []).append(resource)


def _withdraw(locks: Locks, tx: int) -> int:
    resource = locks.blocked.pop(tx)
    locks.waiting[resource] = [request for request in locks.waiting[resource] if request[0] != tx]
    return resource


def _serve(locks: Locks, resource: int) -> list[tuple[int, int]]:
    """Grant the waiting requests that nothing is in the way of, from the front."""
    granted: list[tuple[int, int]] = []
    ahead: list[int] = []
    queue = locks.waiting.get(resource, [])
    for tx, mode in list(queue):
        held_up = any(holder != tx and not compatible(held, mode) for holder, held in locks.holders[resource])
        if held_up or not all(passes(mode, wanted) for wanted in ahead):
            ahead.append(mode)
            continue
        queue.remove((tx, mode))
        del locks.blocked[tx]
        _grant(locks, tx, resource, mode)
        granted.append((tx, resource))
    return granted


def _in_the_way(locks: Locks, tx: int) -> list[int]:
    """Transactions that ``tx`` waits for: incompatible holders, and incompatible requests before its own."""
    resource = locks.blocked[tx]
    mode = next(wanted for other, wanted in locks.waiting[resource] if other == tx)
    found = [other for other, held in locks.holders[resource] if other != tx and not compatible(held, mode)]
    for other, wanted in locks.waiting[resource]:
        if other == tx:
            break
        if not passes(mode, wanted):
            found.append(other)
    return found


def _cycle(locks: Locks, start: int) -> list[int]:
    """Transactions on a waits-for path from ``start`` back to itself, empty if there is none."""
    path: list[int] = []
    seen: set[int] = set()

    def visit(tx: int) -> bool:
        if tx in seen or tx not in locks.blocked:
            return False
        seen.add(tx)
        path.append(tx)
        for other in _in_the_way(locks, tx):
            if other == start or visit(other):
                return True
        path.pop()
        return False

    return path if visit(start) else []
