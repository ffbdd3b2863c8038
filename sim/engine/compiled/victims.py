"""Local transactions in the way of a write set: what `sim.engine.galera` does with them."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.database import abort, brute_force_way, end_gaps, unlock
from sim.engine.compiled.gaps import is_scanner_met
from sim.engine.compiled.jit import Floats, Ints, kernel, twins
from sim.protocols import certification

brute_force = twins(certification, ("brute_force",))["brute_force"]

_REPLICATING, _ORDERED = certification.REPLICATING, certification.ORDERED
_REPLAY, _ROLLBACK = certification.REPLAY, certification.ROLLBACK


@kernel
def let_go(i64: Ints, f64: Floats, tx: int) -> None:
    """A transaction that will be replayed has rolled back."""
    end_gaps(i64, f64, tx)
    unlock(i64, f64, i64[tx + w.T_MEMBER], tx)


@kernel
def clear(i64: Ints, f64: Floats, victim: int, seqno: int) -> None:
    """A local transaction is in the way of the write set with ``seqno``; an applier never is."""
    if victim <= 0 or not i64[victim + w.T_OPEN]:
        return
    state = i64[victim + w.T_STATE]
    place = i64[victim + w.T_SEQNO]
    fate = brute_force(_ORDERED if state == _REPLICATING else state, place if place else seqno + 1, seqno)
    if fate == _REPLAY:
        i64[victim + w.T_REPLAY] = 1
        if state == _ORDERED:  # on the wire it cannot roll back before it has its place
            let_go(i64, f64, victim)
    elif fate == _ROLLBACK:
        abort(i64, f64, victim)


@kernel
def clear_gaps(i64: Ints, f64: Floats, member: int, tx: int) -> None:
    """Clear the gaps that the tokens of a write set go into."""
    seqno, token = i64[tx + w.T_SEQNO], i64[tx + w.T_TOKEN]
    scanner = i64[member + w.B_SCANNER] if is_scanner_met(i64, f64, member, tx) else 0
    if scanner:
        clear(i64, f64, scanner, seqno)
    # Only now: a scan that is aborted leaves the list. It has no token yet, and no gap below one.
    local = i64[member + w.B_OPEN_HEAD] if i64[member + w.B_BELOW] else 0
    while local:
        after = i64[local + w.T_OPEN_NEXT]
        if i64[local + w.T_BELOW] and i64[local + w.T_BELOW] < token < i64[local + w.T_TOKEN]:
            clear(i64, f64, local, seqno)
        local = after


@kernel
def locks_of(i64: Ints, f64: Floats, member: int, tx: int) -> int:
    """The locks that applying a write set needs."""
    return member + (w.B_FIRST_HEAD if i64[tx + w.T_RESOURCE] == w.FIRST_ROWS else w.B_LOCKS_HEAD)


@kernel
def clear_token_scope(i64: Ints, f64: Floats, member: int, tx: int) -> None:
    """A range excludes all others: there is one holder in the way at most."""
    if i64[tx + w.T_RESOURCE] != w.NO_ROWS:
        seqno = i64[tx + w.T_SEQNO]
        clear(i64, f64, brute_force_way(i64, f64, locks_of(i64, f64, member, tx), -seqno), seqno)
