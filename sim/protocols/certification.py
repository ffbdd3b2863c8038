"""Galera certification: which ordered write sets conflict, and what the client is told.

Source: galera/src/certification.cpp (check_against, do_test), wsrep-lib src/transaction.cpp,
components.md 1.4-1.6.

Example:
    >>> index = new_index()
    >>> a = WriteSet(source=0, last_seen=10, keys=(key(5, EXCLUSIVE),))
    >>> b = WriteSet(source=1, last_seen=10, keys=(key(5, EXCLUSIVE),))
    >>> certify(index, a, seqno=11).ok, certify(index, b, seqno=12).ok
    (True, False)
"""

from __future__ import annotations

from typing import NamedTuple

from sim.protocols.tables import Ints

EXCLUSIVE, UPDATE, REFERENCE, SHARED = 0, 1, 2, 3
"""Key types: EX (insert, delete), UP (update of non-key columns), RE (parent of a new child), SH."""

MAX_LENGTH = 16_384
"""`cert.max_length`: a longer interval (seqno - last_seen) fails certification."""


CONFLICT, DEPENDS, FREE = 0, 1, 2

RULES: Ints = [
    # in the write set: EX, UP, RE, SH
    *(CONFLICT, CONFLICT, CONFLICT, CONFLICT),  # EX in the index
    *(CONFLICT, CONFLICT, DEPENDS, DEPENDS),  # UP
    *(CONFLICT, DEPENDS, FREE, FREE),  # RE
    *(DEPENDS, DEPENDS, FREE, FREE),  # SH
]
"""``RULES[found * 4 + new]``: what an earlier key of one type means for a later one of another."""


class WriteSet(NamedTuple):
    """A transaction as certification sees it.

    Attributes:
        source: member it was executed at.
        last_seen: last seqno committed there when COMMIT began (not BEGIN).
        keys: made by :func:`key`.
        toi: a schema change in total order isolation.
    """

    source: int
    last_seen: int
    keys: tuple[int, ...]
    toi: bool = False


class Verdict(NamedTuple):
    """Outcome of certification.

    Attributes:
        ok: whether it passed.
        depends: highest seqno that must be applied before it, -1 for none (limits parallel apply).
        against: seqno of the write set that won, -1 if it passed.
    """

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
    return Index({}, {}, {})


def certify(index: Index, write_set: WriteSet, seqno: int) -> Verdict:
    """Test ``write_set``, ordered as ``seqno``, and enter its keys when it passes.

    Deterministic: members that call it with the same write sets in the same order get the same verdicts.
    Conflict iff the table says so and the earlier write set was ordered after ``last_seen`` and came
    from another member (or is a TOI statement). Otherwise the earlier one only has to be applied first.
    """
    if seqno - write_set.last_seen > MAX_LENGTH:
        return Verdict(False, -1, write_set.last_seen)
    depends, against = -1, -1
    for packed in write_set.keys:
        row, kind = packed >> 2, packed & 3
        for found in range(4):
            rule = RULES[found * 4 + kind]
            entry = row * 4 + found
            if rule == FREE or entry not in index.seqno:
                continue
            earlier = index.seqno[entry]
            if (
                rule == CONFLICT
                and earlier > write_set.last_seen
                and (index.toi[entry] or index.source[entry] != write_set.source)
            ):
                against = max(against, earlier)
            depends = max(depends, earlier)
    if against >= 0 and not write_set.toi:
        return Verdict(False, depends, against)
    if write_set.toi:
        depends = seqno - 1
    for packed in write_set.keys:
        index.seqno[packed] = seqno
        index.source[packed] = write_set.source
        index.toi[packed] = int(write_set.toi)
    return Verdict(True, depends, -1)


def purge(index: Index, up_to: int) -> None:
    """Forget entries up to ``up_to``: all members have committed past them."""
    for entry in [entry for entry, seqno in index.seqno.items() if seqno <= up_to]:
        del index.seqno[entry]
        del index.source[entry]
        del index.toi[entry]


EXECUTING, REPLICATING, ORDERED = 0, 1, 2
"""States of a local transaction that an applier finds holding its lock: running statements, waiting for its
place in the total order, or having it."""

ROLLBACK, RETRY, REPLAY, KEEP = 0, 1, 2, 3
"""What happens to a transaction: error 1213, the server runs the statement again, the applier applies its
write set after certification, nothing."""


def brute_force(victim_state: int, victim_seqno: int, applier_seqno: int) -> int:
    """What an applier does to a local transaction that holds its lock: ROLLBACK, REPLAY or KEEP.

    Args:
        victim_state: EXECUTING, REPLICATING or ORDERED.
        victim_seqno: its place in the total order if ORDERED.
        applier_seqno: the applier's.

    A victim ordered before the applier keeps its locks (the applier waits for its commit); one after it must
    be replayed: certify it again, error 1213 if that fails, else OK after one more apply.
    """
    if victim_state != ORDERED:
        return ROLLBACK
    return KEEP if victim_seqno < applier_seqno else REPLAY


def after_conflict(autocommit: bool, retries_left: int) -> int:
    """RETRY for a single autocommit statement with `wsrep_retry_autocommit` (1) tries left, else ROLLBACK.

    Each retry executes again and costs another total order. The identity service never retries.
    """
    return RETRY if autocommit and retries_left > 0 else ROLLBACK


class ClientError(NamedTuple):
    """A MariaDB error as the client sees it; ``in_doubt``: the transaction may have been committed."""

    code: int
    sqlstate: str
    in_doubt: bool


DEADLOCK = ClientError(1213, "40001", False)
"""Certification failure or brute-force abort."""

DUPLICATE_KEY = ClientError(1062, "23000", False)
"""Found when an insert that lost is retried."""

COMMIT_INTERRUPTED = ClientError(1180, "HY000", True)
"""The member lost the primary component with the commit in flight."""

NOT_READY = ClientError(1047, "08S01", False)
"""Any statement, reads too, on a non-primary or joining member."""

LOCK_WAIT_TIMEOUT = ClientError(1205, "HY000", False)
"""A lock wait, or a causal read while the view is broken."""

SNAPSHOT_CHANGED = ClientError(1020, "HY000", False)
"""`innodb_snapshot_isolation=ON`: the row changed since the snapshot."""

SERVER_LOST = ClientError(2013, "HY000", True)
"""The server died during the statement."""

CANNOT_CONNECT = ClientError(2003, "HY000", False)
"""Nothing listens there."""
