"""Galera certification: which ordered write sets conflict, and what the client is told.

Example:
    >>> index = new_index()
    >>> a = WriteSet(source=0, last_seen=10, keys=(key(5, EXCLUSIVE),))
    >>> b = WriteSet(source=1, last_seen=10, keys=(key(5, EXCLUSIVE),))
    >>> certify(index, a, seqno=11).ok, certify(index, b, seqno=12).ok
    (True, False)
"""

from __future__ import annotations

from typing import NamedTuple

EXCLUSIVE, UPDATE, REFERENCE, SHARED = 0, 1, 2, 3
"""Key types: EX (insert, delete), UP (update of non-key columns), RE (foreign-key parent of a new child), SH."""

MAX_LENGTH = 16_384
"""`cert.max_length`: a longer interval (seqno - last_seen) fails certification."""


class WriteSet(NamedTuple):
    """A transaction's keys as certification sees them. ``keys`` are made by :func:`key`."""

    source: int
    last_seen: int
    keys: tuple[int, ...]
    toi: bool = False


class Verdict(NamedTuple):
    """Outcome: ``ok``; ``depends``: highest seqno that must be applied before; ``against``: seqno that won, or -1."""

    ok: bool
    depends: int
    against: int


class Index(NamedTuple):
    """Certification index: packed key -> seqno, source and TOI flag of the last write set with it."""

    seqno: dict[int, int]
    source: dict[int, int]
    toi: dict[int, int]


def key(row: int, kind: int) -> int:
    """Pack a row's hash and a key type into one int."""
    return row * 4 + kind


def new_index() -> Index:
    """An empty index (as after a state transfer)."""
    raise NotImplementedError


def certify(index: Index, write_set: WriteSet, seqno: int) -> Verdict:
    """Test ``write_set``, ordered as ``seqno``, and enter its keys when it passes. Same result at every member."""
    raise NotImplementedError


def purge(index: Index, up_to: int) -> None:
    """Forget entries up to ``up_to``: all members have committed past them."""
    raise NotImplementedError


# Victims of brute force: what an applier finds holding its lock.
EXECUTING, REPLICATING, ORDERED = 0, 1, 2
# What happens to the victim.
ROLLBACK, RETRY, REPLAY, KEEP = 0, 1, 2, 3


def brute_force(victim_state: int, victim_seqno: int, applier_seqno: int) -> int:
    """What an applier does to a local transaction that holds its lock: ROLLBACK, REPLAY or KEEP."""
    raise NotImplementedError


def after_conflict(autocommit: bool, retries_left: int) -> int:
    """RETRY (a single autocommit statement with `wsrep_retry_autocommit` tries left) or ROLLBACK (error 1213)."""
    raise NotImplementedError


class ClientError(NamedTuple):
    """A MariaDB error as the client sees it; ``in_doubt``: the transaction may have been committed."""

    code: int
    sqlstate: str
    in_doubt: bool


ERRORS: dict[str, ClientError] = {}
"""Situation -> error (components.md 1.6)."""
