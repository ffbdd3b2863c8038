"""Row locks, open transactions and group commit of a database member: `sim.engine.database`.

There are two resources, the first rows of token_scope and all of it, and a transaction that scans asks for
them in this order before it inserts: the queues of `sim.protocols.rowlocks` come down to two lists each
(holders, then requests), and no deadlock can arise.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import claims
from sim.engine.compiled import layout as w
from sim.engine.compiled.draws import cost
from sim.engine.compiled.events import append, give, node, push, push_urgent, take
from sim.engine.compiled.jit import Floats, Ints, kernel
from sim.protocols import rowlocks

_INSERT = rowlocks.INSERT


@kernel
def new_transaction(i64: Ints, f64: Floats, member: int, call: int) -> int:
    """Open a write transaction."""
    tx = take(i64, f64, w.FREE_TX, w.T_WORDS)
    for word in range(1, w.T_WORDS):
        i64[tx + word] = 0
    i64[w.NUMBER] += 1
    i64[tx + w.T_NUMBER] = i64[w.NUMBER]
    i64[tx + w.T_MEMBER] = member
    i64[tx + w.T_CALL] = call
    i64[tx + w.T_SURVIVED] = 1
    i64[tx + w.T_REFERENCES] = 1
    i64[tx + w.T_OPEN] = 1
    last = i64[member + w.B_OPEN_TAIL]
    i64[tx + w.T_OPEN_PREV] = last
    if last:
        i64[last + w.T_OPEN_NEXT] = tx
    else:
        i64[member + w.B_OPEN_HEAD] = tx
    i64[member + w.B_OPEN_TAIL] = tx
    return tx


@kernel
def keep(i64: Ints, f64: Floats, tx: int) -> int:
    """Somebody else refers to the transaction."""
    if tx:
        i64[tx + w.T_REFERENCES] += 1
    return tx


@kernel
def release_transaction(i64: Ints, f64: Floats, tx: int) -> None:
    """One fewer refers to it."""
    if tx:
        i64[tx + w.T_REFERENCES] -= 1
        if i64[tx + w.T_REFERENCES] == 0:
            give(i64, f64, w.FREE_TX, tx)


@kernel
def close(i64: Ints, f64: Floats, tx: int) -> None:
    """The transaction is no longer among the open ones of its member."""
    if not i64[tx + w.T_OPEN]:
        return
    i64[tx + w.T_OPEN] = 0
    member = i64[tx + w.T_MEMBER]
    before, after = i64[tx + w.T_OPEN_PREV], i64[tx + w.T_OPEN_NEXT]
    if before:
        i64[before + w.T_OPEN_NEXT] = after
    else:
        i64[member + w.B_OPEN_HEAD] = after
    if after:
        i64[after + w.T_OPEN_PREV] = before
    else:
        i64[member + w.B_OPEN_TAIL] = before
    i64[tx + w.T_OPEN_PREV] = 0
    i64[tx + w.T_OPEN_NEXT] = 0


# -- locks: nodes (owner, mode); an owner is a transaction, or minus the seqno of a write set ---------


@kernel
def compatible(one: int, other: int) -> bool:
    """Whether different transactions can hold both modes: only inserts can."""
    return one == _INSERT and other == _INSERT


@kernel
def in_the_way(i64: Ints, f64: Floats, locks: int, owner: int, mode: int) -> bool:
    """Whether a lock of somebody else is incompatible with ``mode``."""
    held = i64[locks]
    while held:
        if i64[held + w.N_A] != owner and not compatible(i64[held + w.N_B], mode):
            return True
        held = i64[held]
    return False


@kernel
def request(i64: Ints, f64: Floats, locks: int, owner: int, mode: int, in_front: bool) -> bool:
    """Ask for the lock at ``locks``: whether it is granted now, else the request waits."""
    free = True
    held = i64[locks]
    while held:
        if i64[held + w.N_A] != owner:
            free = free and compatible(i64[held + w.N_B], mode)
        elif i64[held + w.N_B] == mode or i64[held + w.N_B] != _INSERT:
            return True
        held = i64[held]
    if free and not in_front and mode != _INSERT:  # inserts pass a scan that waits
        waiting = i64[locks + 2]
        while waiting:
            if not compatible(i64[waiting + w.N_B], mode):
                free = False
                break
            waiting = i64[waiting]
    found = node(i64, f64, owner, mode, 0)
    if free:
        append(i64, f64, locks, found)
        return True
    if in_front and i64[locks + 2]:
        i64[found] = i64[locks + 2]
        i64[locks + 2] = found
    else:
        append(i64, f64, locks + 2, found)
    return False


@kernel
def remove(i64: Ints, f64: Floats, head: int, owner: int) -> bool:
    """Take the nodes of ``owner`` off a list."""
    found = False
    before = 0
    item = i64[head]
    while item:
        after = i64[item]
        if i64[item + w.N_A] == owner:
            found = True
            if before:
                i64[before] = after
            else:
                i64[head] = after
            if not after:
                i64[head + 1] = before
            give(i64, f64, w.FREE_NODE, item)
        else:
            before = item
        item = after
    return found


@kernel
def apply_cost(i64: Ints, f64: Floats, member: int, tx: int) -> float:
    """CPU that applying a write set takes at the member this time."""
    stream = i64[member + w.B_APPLY_STREAM]
    return cost(i64, f64, f64[w.COST_APPLY], f64[w.COST_APPLY_CV], stream) * f64[tx + w.T_APPLY]


@kernel
def granted(i64: Ints, f64: Floats, member: int, owner: int) -> None:
    """Tell ``owner`` that it has the lock it waited for."""
    if owner > 0:
        if i64[owner + w.T_LOCK_WAIT] == w.WAITING:
            i64[owner + w.T_LOCK_WAIT] = w.GRANTED
            call = i64[owner + w.T_CALL]
            push(i64, f64, 0.0, w.ANY_CALL, call, i64[call + w.C_TOKEN])
        return
    push(i64, f64, 0.0, w.APPLIER_GRANTED, member, -owner)


@kernel
def let_go(i64: Ints, f64: Floats, member: int, locks: int, owner: int) -> None:
    """Let go of the lock at ``locks`` and wake who was waiting for it."""
    held = remove(i64, f64, locks, owner)
    waited = remove(i64, f64, locks + 2, owner)
    if not (held or waited):
        return
    before = 0
    item = i64[locks + 2]
    while item:
        after, mode = i64[item], i64[item + w.N_B]
        # who goes on waiting keeps ranges back, not inserts
        if (before and mode != _INSERT) or in_the_way(i64, f64, locks, i64[item + w.N_A], mode):
            before = item
        else:
            claims.unlink(i64, f64, locks + 2, before, item)
            append(i64, f64, locks, item)
            granted(i64, f64, member, i64[item + w.N_A])
        item = after


@kernel
def unlock(i64: Ints, f64: Floats, member: int, owner: int) -> None:
    """Let go of all locks of ``owner``, in the order in which they were taken."""
    let_go(i64, f64, member, member + w.B_FIRST_HEAD, owner)
    let_go(i64, f64, member, member + w.B_LOCKS_HEAD, owner)
    if i64[member + w.B_CLAIMS_HEAD]:
        claims.let_go(i64, f64, member, owner)


@kernel
def clear_list(i64: Ints, f64: Floats, head: int) -> None:
    """Empty a list of nodes."""
    item = i64[head]
    while item:
        after = i64[item]
        give(i64, f64, w.FREE_NODE, item)
        item = after
    i64[head] = 0
    i64[head + 1] = 0


@kernel
def end_gaps(i64: Ints, f64: Floats, tx: int) -> None:
    """The transaction lets go of its gap locks."""
    member = i64[tx + w.T_MEMBER]
    if i64[tx + w.T_BELOW]:
        i64[tx + w.T_BELOW] = 0
        i64[member + w.B_BELOW] -= 1
    if i64[member + w.B_SCANNER] == tx:
        i64[member + w.B_SCANNER] = 0


@kernel
def end(i64: Ints, f64: Floats, tx: int) -> None:
    """The transaction is over: let go of its locks."""
    close(i64, f64, tx)
    end_gaps(i64, f64, tx)
    unlock(i64, f64, i64[tx + w.T_MEMBER], tx)


@kernel
def abort(i64: Ints, f64: Floats, tx: int) -> None:
    """Roll a local transaction back on somebody else's behalf; its client gets 1213."""
    i64[tx + w.T_ABORTED] = 1
    end(i64, f64, tx)
    push_urgent(i64, f64, w.INTERRUPT_CALL, i64[tx + w.T_CALL], 0)


# -- group commit --------------------------------------------------------------------------


@kernel
def start_flush(i64: Ints, f64: Floats, member: int) -> None:
    """Write what has come up to now."""
    group = i64[member + w.B_FLUSH_HEAD]
    i64[member + w.B_FLUSH_HEAD] = 0
    i64[member + w.B_FLUSH_HEAD + 1] = 0
    i64[member + w.B_FLUSH_BUSY] = 1
    seconds = cost(i64, f64, f64[w.COST_COMMIT], f64[w.COST_COMMIT_CV], i64[member + w.B_FLUSH_STREAM])
    push(i64, f64, seconds, w.FLUSHED, member, group)


@kernel
def flush(i64: Ints, f64: Floats, member: int, kind: int, a: int, b: int) -> None:
    """Do what ``kind`` says with ``a`` and ``b`` when what has been written up to now is on disk."""
    append(i64, f64, member + w.B_FLUSH_HEAD, node(i64, f64, kind, a, b))
    if not i64[member + w.B_FLUSH_BUSY]:
        start_flush(i64, f64, member)


@kernel
def brute_force_way(i64: Ints, f64: Floats, locks: int, owner: int) -> int:
    """The holder that keeps an applier from the lock at ``locks``, 0 for none."""
    held = i64[locks]
    while held:
        if i64[held + w.N_A] != owner and not compatible(i64[held + w.N_B], _INSERT):
            return i64[held + w.N_A]
        held = i64[held]
    return 0
