"""Locks on single rows that background jobs delete: `sim.engine.cleanup` over `sim.protocols.rowlocks`.

A transaction claims one row at most, after all other locks: one list of holders and one of requests per
member will do, their nodes (owner, row). An owner is a transaction, or minus the seqno of a write set.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import append, give, node, push
from sim.engine.compiled.jit import Floats, Ints, kernel


@kernel
def holder(i64: Ints, f64: Floats, member: int, row: int) -> int:
    """Who has the row, 0 for nobody."""
    held = i64[member + w.B_CLAIMS_HEAD]
    while held:
        if i64[held + w.N_B] == row:
            return i64[held + w.N_A]
        held = i64[held]
    return 0


@kernel
def claim(i64: Ints, f64: Floats, member: int, owner: int, row: int) -> bool:
    """Ask for a row: whether it is granted now, else the request waits."""
    free = holder(i64, f64, member, row) == 0
    head = member + (w.B_CLAIMS_HEAD if free else w.B_CLAIM_WAITS_HEAD)
    append(i64, f64, head, node(i64, f64, owner, row, 0))
    return free


@kernel
def seize(i64: Ints, f64: Floats, member: int, owner: int, row: int) -> int:
    """An applier takes the row, in front of all requests: the transaction it is taken from, 0 for none."""
    before = holder(i64, f64, member, row)
    append(i64, f64, member + w.B_CLAIMS_HEAD, node(i64, f64, owner, row, 0))
    return before


@kernel
def drop(i64: Ints, f64: Floats, head: int, owner: int) -> int:
    """Take the node of ``owner`` off a list: its row, 0 if there is none."""
    before = 0
    item = i64[head]
    while item:
        if i64[item + w.N_A] == owner:
            row = i64[item + w.N_B]
            unlink(i64, f64, head, before, item)
            give(i64, f64, w.FREE_NODE, item)
            return row
        before = item
        item = i64[item]
    return 0


@kernel
def unlink(i64: Ints, f64: Floats, head: int, before: int, item: int) -> None:
    """Take a node off a list."""
    after = i64[item]
    if before:
        i64[before] = after
    else:
        i64[head] = after
    if not after:
        i64[head + 1] = before


@kernel
def let_go(i64: Ints, f64: Floats, member: int, owner: int) -> None:
    """Let go of the row of ``owner`` and tell who has it now."""
    drop(i64, f64, member + w.B_CLAIM_WAITS_HEAD, owner)
    row = drop(i64, f64, member + w.B_CLAIMS_HEAD, owner)
    if not row or holder(i64, f64, member, row):
        return
    head = member + w.B_CLAIM_WAITS_HEAD
    before = 0
    item = i64[head]
    while item:
        if i64[item + w.N_B] == row:
            unlink(i64, f64, head, before, item)
            append(i64, f64, member + w.B_CLAIMS_HEAD, item)
            tx = i64[item + w.N_A]
            if i64[tx + w.T_LOCK_WAIT] == w.WAITING:
                i64[tx + w.T_LOCK_WAIT] = w.GRANTED
                call = i64[tx + w.T_CALL]
                push(i64, f64, 0.0, w.ANY_CALL, call, i64[call + w.C_TOKEN])
            return
        before = item
        item = i64[item]
