"""Certification, applying and committing at the members of a cluster: `sim.engine.galera`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine.compiled import claims
from sim.engine.compiled import layout as w
from sim.engine.compiled.cleanup import key, loses, ordered
from sim.engine.compiled.cpus import submit
from sim.engine.compiled.database import (
    apply_cost,
    clear_list,
    close,
    end,
    flush,
    release_transaction,
    request,
    unlock,
)
from sim.engine.compiled.events import allocate, append, broadcast, give, push, take
from sim.engine.compiled.gaps import arrive
from sim.engine.compiled.jit import Floats, Ints, entry, inlined, kernel, twins
from sim.engine.compiled.victims import clear, clear_gaps, clear_token_scope, let_go, locks_of
from sim.protocols import certification, flowcontrol, membership, rowlocks
from sim.protocols.flowcontrol import Flow

_made = twins(flowcontrol, ("entered", "joined", "queue_changed", "ordered", "is_paused"))
flow_entered = _made["entered"]
flow_joined = _made["joined"]
flow_queue_changed = _made["queue_changed"]
flow_ordered = _made["ordered"]
flow_is_paused = _made["is_paused"]

_INSERT, _RANGE = rowlocks.INSERT, rowlocks.RANGE
_ORDERED = certification.ORDERED
_MAX_LENGTH = certification.MAX_LENGTH
_NOTHING, _STOP = flowcontrol.NOTHING, flowcontrol.STOP
_OPERATIONAL, _PRIMARY = membership.OPERATIONAL, membership.PRIMARY


@inlined
def flow_of(i64: Any, f64: Any, db: int) -> Flow:
    """The database's flow control."""
    n = i64[db + w.E_COUNT]
    return Flow(
        n,
        i64[i64[db + w.E_FLOW_LOWER] : i64[db + w.E_FLOW_LOWER] + n],
        i64[i64[db + w.E_FLOW_UPPER] : i64[db + w.E_FLOW_UPPER] + n],
        i64[i64[db + w.E_FLOW_SENT] : i64[db + w.E_FLOW_SENT] + n],
        i64[i64[db + w.E_FLOW_OFFSET] : i64[db + w.E_FLOW_OFFSET] + n],
        i64[i64[db + w.E_FLOW_DESYNCED] : i64[db + w.E_FLOW_DESYNCED] + n],
        i64[i64[db + w.E_FLOW_STOPPED] : i64[db + w.E_FLOW_STOPPED] + n * n],
    )


@kernel
def can_send(i64: Ints, f64: Floats, member: int) -> bool:
    """Whether a commit may be replicated now."""
    db, index = i64[member + w.B_DATABASE], i64[member + w.B_INDEX]
    return i64[i64[db + w.E_EVS] + index] == _OPERATIONAL and i64[i64[db + w.E_PC] + index] == _PRIMARY


@entry
def is_ready(i64: Ints, f64: Floats, member: int) -> bool:
    """Whether statements that read a table are served."""
    db, index = i64[member + w.B_DATABASE], i64[member + w.B_INDEX]
    if not i64[db + w.E_GALERA]:
        return True
    return i64[i64[db + w.E_PRIM] + index] == 1 and i64[i64[db + w.E_SYNCED] + index] == 1


@kernel
def must_wait(i64: Ints, f64: Floats, member: int) -> bool:
    """Whether commits at the member must wait before replicating."""
    if not can_send(i64, f64, member):
        return True
    return flow_is_paused(flow_of(i64, f64, i64[member + w.B_DATABASE]), i64[member + w.B_INDEX])


@kernel
def history_entry(i64: Ints, f64: Floats, db: int, seqno: int) -> int:
    """Place of the transaction with ``seqno``."""
    return i64[db + w.E_HISTORY] + (seqno & i64[db + w.E_HISTORY_MASK])


@kernel
def make_history(i64: Ints, f64: Floats, db: int) -> None:
    """Give the history a longer ring when it is more than half full; a member that is away fills it."""
    old, mask = i64[db + w.E_HISTORY], i64[db + w.E_HISTORY_MASK]
    if i64[db + w.E_HISTORY_LEN] - i64[db + w.E_HISTORY_TAIL] <= mask >> 1:
        return
    longer = 2 * mask + 1
    new = allocate(i64, f64, longer + 1)
    for seqno in range(i64[db + w.E_HISTORY_TAIL] + 1, i64[db + w.E_HISTORY_LEN] + 1):
        i64[new + (seqno & longer)] = i64[old + (seqno & mask)]
    i64[db + w.E_HISTORY] = new
    i64[db + w.E_HISTORY_MASK] = longer
    i64[w.ROOM] = max(i64[w.ROOM], 4 * (longer + 1))


@kernel
def trim(i64: Ints, f64: Floats, db: int) -> None:
    """Forget what every member has made visible."""
    n = i64[db + w.E_COUNT]
    lowest = i64[db + w.E_HISTORY_LEN]
    for index in range(n):
        member = i64[i64[db + w.E_MEMBERS] + index]
        lowest = min(lowest, i64[member + w.B_VISIBLE])
    tail = i64[db + w.E_HISTORY_TAIL]
    while tail < lowest:
        tail += 1
        release_transaction(i64, f64, i64[history_entry(i64, f64, db, tail)])
    i64[db + w.E_HISTORY_TAIL] = tail


@kernel
def certify(i64: Ints, f64: Floats, db: int, tx: int) -> None:
    """Give the write set its seqno and its verdict, which every member comes to alike."""
    if i64[db + w.E_HISTORY_LEN] - i64[db + w.E_HISTORY_TAIL] >= i64[db + w.E_HISTORY_MASK]:
        trim(i64, f64, db)
        make_history(i64, f64, db)
    seqno = i64[db + w.E_HISTORY_LEN] + 1
    i64[db + w.E_HISTORY_LEN] = seqno
    i64[history_entry(i64, f64, db, seqno)] = tx  # the reference of who submitted it goes to the history
    i64[tx + w.T_SEQNO] = seqno
    # fresh rows and shared foreign-key parents never conflict (certification.RULES): length decides
    passed = seqno - i64[tx + w.T_LAST_SEEN] <= _MAX_LENGTH
    if i64[db + w.E_TOKENS]:
        passed = passed and not loses(i64, f64, db, tx)
        if passed:
            ordered(i64, f64, db, tx)
    i64[tx + w.T_PASSED] = 1 if passed else 0
    i64[tx + w.T_COMMITTED] = 1 if passed else 0


@kernel
def apply(i64: Ints, f64: Floats, member: int, slot: int) -> None:
    """Begin to apply a write set."""
    i64[slot + w.W_STATE] = w.SLOT_APPLYING
    i64[member + w.B_APPLYING] += 1
    i64[member + w.B_QUEUE_WAITING] -= 1
    seconds = apply_cost(i64, f64, member, i64[slot + w.W_TX])
    submit(i64, f64, i64[member + w.A_CPU], seconds, member, 0, w.JOB_APPLY, member, slot)


@kernel
def place(i64: Ints, f64: Floats, member: int, slot: int) -> None:
    """The rows of the token come last: what has locked their places is in the way."""
    tx = i64[slot + w.W_TX]
    seqno = i64[tx + w.T_SEQNO]
    clear_gaps(i64, f64, member, tx)
    arrive(i64, f64, member, tx)
    resource = i64[tx + w.T_RESOURCE]
    free = resource == w.NO_ROWS or request(i64, f64, locks_of(i64, f64, member, tx), -seqno, _INSERT, True)
    if i64[tx + w.T_CLEANS]:
        row = key(i64[tx + w.T_CLEANS], i64[tx + w.T_DELETES])
        clear(i64, f64, claims.seize(i64, f64, member, -seqno, row), seqno)
    if free:
        i64[slot + w.W_STATE] = w.SLOT_APPLIED
        pump(i64, f64, member)
    else:
        clear_token_scope(i64, f64, member, tx)


@kernel
def lock_granted(i64: Ints, f64: Floats, member: int, seqno: int) -> None:
    """The lock an applier waited for is there."""
    slot = i64[member + w.B_QUEUE_HEAD]
    while slot:
        if i64[slot + w.W_STATE] == w.SLOT_APPLYING and i64[i64[slot + w.W_TX] + w.T_SEQNO] == seqno:
            i64[slot + w.W_STATE] = w.SLOT_APPLIED
            pump(i64, f64, member)
            return
        slot = i64[slot]


@kernel
def replayed(i64: Ints, f64: Floats, member: int, tx: int) -> None:
    """A write set has been replayed."""
    clear_gaps(i64, f64, member, tx)
    clear_token_scope(i64, f64, member, tx)
    flush(i64, f64, member, w.FLUSH_COMMIT, tx, 1)


@kernel
def queue_changed(i64: Ints, f64: Floats, member: int) -> None:
    """Compare the receive queue with flow control's limits."""
    index = i64[member + w.B_INDEX]
    flow = flow_of(i64, f64, i64[member + w.B_DATABASE])
    change = flow_queue_changed(flow, index, i64[member + w.B_QUEUE_WAITING])
    if change != _NOTHING:
        push(i64, f64, 0.0, w.FLOW_SEND, member, 2 * index + (1 if change == _STOP else 0))


@entry
def synced(i64: Ints, f64: Floats, member: int) -> None:
    """The member has all the data its component has."""
    db, index = i64[member + w.B_DATABASE], i64[member + w.B_INDEX]
    i64[member + w.B_TARGET] = -1
    flow_joined(flow_of(i64, f64, db), index, i64[member + w.B_QUEUE_WAITING])
    i64[i64[db + w.E_SYNCED] + index] = 1
    broadcast(i64, f64, member + w.B_CHANGED_HEAD)


@kernel
def committed_only(i64: Ints, f64: Floats, member: int, tx: int, local: int) -> None:
    """A write set is visible at the member."""
    seqno = i64[tx + w.T_SEQNO]
    i64[member + w.B_VISIBLE] = max(i64[member + w.B_VISIBLE], seqno)
    if i64[tx + w.T_PASSED]:
        i64[member + w.B_TOKEN_ROWS] = max(0, i64[member + w.B_TOKEN_ROWS] + i64[tx + w.T_ROWS])
    if not local:
        if i64[tx + w.T_PASSED]:
            i64[member + w.B_APPLYING] = max(0, i64[member + w.B_APPLYING] - 1)
            unlock(i64, f64, member, -seqno)
    elif i64[tx + w.T_ANSWER] == w.WAITING:
        end(i64, f64, tx)
        answer(i64, f64, tx, i64[tx + w.T_PASSED])
    queue_changed(i64, f64, member)
    target = i64[member + w.B_TARGET]
    if 0 <= target <= i64[member + w.B_VISIBLE]:
        synced(i64, f64, member)


@kernel
def answer(i64: Ints, f64: Floats, tx: int, value: int) -> None:
    """Tell the client: 1 committed, 0 conflict, 2 nobody knows."""
    i64[tx + w.T_ANSWER] = w.GRANTED
    i64[tx + w.T_VALUE] = value
    call = i64[tx + w.T_CALL]
    # its request may be gone: the service's process died
    if i64[call + w.C_TX] == tx and w.PC_SUBMIT <= i64[call + w.C_PC] <= w.PC_ANSWER:
        push(i64, f64, 0.0, w.RESUME_CALL, call, i64[call + w.C_TOKEN])


@kernel
def commit_slot(i64: Ints, f64: Floats, member: int, tx: int, local: int) -> None:
    """It is a write set's turn to commit."""
    passed = i64[tx + w.T_PASSED]
    if passed:
        # A later write set that failed is visible at once, and the history would forget this one meanwhile.
        i64[tx + w.T_REFERENCES] += 1
    if local and i64[tx + w.T_REPLAY] and passed:
        # replay: applied like a foreign one before the client gets its OK
        i64[tx + w.T_REPLAY] = 0
        seconds = apply_cost(i64, f64, member, tx)
        submit(i64, f64, i64[member + w.A_CPU], seconds, member, 0, w.JOB_REPLAY, member, tx)
    elif not passed:
        committed_only(i64, f64, member, tx, local)
    else:
        flush(i64, f64, member, w.FLUSH_COMMIT, tx, local)


@kernel
def pump(i64: Ints, f64: Floats, member: int) -> None:
    """Start what may be applied and commit what is next in order."""
    while True:
        slot = i64[member + w.B_QUEUE_HEAD]
        if not slot or i64[slot + w.W_STATE] != w.SLOT_APPLIED:
            break
        i64[member + w.B_QUEUE_HEAD] = i64[slot]
        if not i64[slot]:
            i64[member + w.B_QUEUE_HEAD + 1] = 0
        tx, local = i64[slot + w.W_TX], i64[slot + w.W_LOCAL]
        give(i64, f64, w.FREE_SLOT, slot)
        commit_slot(i64, f64, member, tx, local)
    threads = i64[i64[member + w.B_DATABASE] + w.E_SLAVE_THREADS]
    slot = i64[member + w.B_QUEUE_HEAD]
    while slot:
        if i64[member + w.B_APPLYING] >= threads or not i64[member + w.B_QUEUE_WAITING]:
            return
        if i64[slot + w.W_STATE] == w.SLOT_WAITING:
            if threads > 1 and i64[i64[slot + w.W_TX] + w.T_DEPENDS] > i64[member + w.B_VISIBLE]:
                return
            apply(i64, f64, member, slot)
        slot = i64[slot]


@kernel
def committed(i64: Ints, f64: Floats, member: int, tx: int, local: int) -> None:
    """A write set is visible at the member; others may follow."""
    committed_only(i64, f64, member, tx, local)
    pump(i64, f64, member)


@entry
def enqueue(i64: Ints, f64: Floats, member: int, seqno: int) -> None:
    """Take the ordered write sets up to ``seqno`` in; those missed while away come first (IST)."""
    db = i64[member + w.B_DATABASE]
    while i64[member + w.B_RECEIVED] < seqno:
        i64[member + w.B_RECEIVED] += 1
        tx = i64[history_entry(i64, f64, db, i64[member + w.B_RECEIVED])]
        slot = take(i64, f64, w.FREE_SLOT, w.W_WORDS)
        local = 1 if i64[tx + w.T_MEMBER] == member and i64[tx + w.T_ANSWER] == w.WAITING else 0
        i64[slot + w.W_TX] = tx
        i64[slot + w.W_LOCAL] = local
        if local or not i64[tx + w.T_PASSED]:
            i64[slot + w.W_STATE] = w.SLOT_APPLIED
        else:
            i64[slot + w.W_STATE] = w.SLOT_WAITING
            i64[member + w.B_QUEUE_WAITING] += 1
        append(i64, f64, member + w.B_QUEUE_HEAD, slot)
    pump(i64, f64, member)
    queue_changed(i64, f64, member)


@entry
def delivered(i64: Ints, f64: Floats, db: int, index: int, payload: int) -> None:
    """An application payload was delivered in total order at member ``index``."""
    member = i64[i64[db + w.E_MEMBERS] + index]
    number = payload >> 1
    if payload & 1:
        stop = (number & 1) == 1
        flow_ordered(flow_of(i64, f64, db), index, number >> 1, stop)
        if not stop:
            broadcast(i64, f64, member + w.B_CHANGED_HEAD)
        return
    tx = number
    if not i64[tx + w.T_SEQNO]:
        certify(i64, f64, db, tx)
    if i64[member + w.B_TARGET] > i64[member + w.B_RECEIVED]:
        i64[member + w.B_ORDERED] = i64[tx + w.T_SEQNO]
    elif i64[member + w.B_RECEIVED] < i64[tx + w.T_SEQNO]:
        if i64[tx + w.T_MEMBER] == member:
            i64[tx + w.T_STATE] = _ORDERED
            if i64[tx + w.T_REPLAY]:
                let_go(i64, f64, tx)
        enqueue(i64, f64, member, i64[tx + w.T_SEQNO])


@entry
def causal_point(i64: Ints, f64: Floats, ticket: int) -> None:
    """A causal read may go on."""
    call = ticket >> 24
    if i64[call + w.C_TICKET] != ticket:
        return
    if i64[call + w.C_WAIT] == w.ASKING:
        i64[call + w.C_WAIT] = w.GRANTED
    elif i64[call + w.C_WAIT] == w.WAITING:
        i64[call + w.C_WAIT] = w.GRANTED
        push(i64, f64, 0.0, w.RESUME_CALL, call, i64[call + w.C_TOKEN])


# -- what the control plane asks for ----------------------------------------------------------


@entry
def lost_quorum(i64: Ints, f64: Floats, member: int) -> None:
    """The member turned non-primary: commits in flight fail, their outcome open."""
    i64[member + w.B_TARGET] = -1
    tx = i64[member + w.B_OPEN_HEAD]
    while tx:
        after = i64[tx + w.T_OPEN_NEXT]
        seqno = i64[tx + w.T_SEQNO]
        if i64[tx + w.T_ANSWER] == w.WAITING and not 0 < seqno <= i64[member + w.B_RECEIVED]:
            end(i64, f64, tx)
            answer(i64, f64, tx, 2)
        tx = after
    broadcast(i64, f64, member + w.B_CHANGED_HEAD)


@entry
def missing_bytes(i64: Ints, f64: Floats, member: int) -> int:
    """Bytes of the write sets that the member has not got."""
    db = i64[member + w.B_DATABASE]
    size = 0
    for seqno in range(i64[member + w.B_RECEIVED] + 1, i64[db + w.E_HISTORY_LEN] + 1):
        size += i64[i64[history_entry(i64, f64, db, seqno)] + w.T_SIZE]
    return size


@entry
def view_changed(i64: Ints, f64: Floats, member: int, lower: int, upper: int) -> None:
    """The member enters a view: its flow control starts afresh."""
    flow_entered(flow_of(i64, f64, i64[member + w.B_DATABASE]), i64[member + w.B_INDEX], lower, upper)


@entry
def forget_answers(i64: Ints, f64: Floats, member: int) -> None:
    """The process dies: nobody is left to be told."""
    tx = i64[member + w.B_OPEN_HEAD]
    while tx:
        i64[tx + w.T_ANSWER] = w.IDLE
        tx = i64[tx + w.T_OPEN_NEXT]


@entry
def forget_state(i64: Ints, f64: Floats, member: int) -> None:
    """The process is dead: locks, open transactions and unwritten commits are gone."""
    clear_list(i64, f64, member + w.B_LOCKS_HEAD)
    clear_list(i64, f64, member + w.B_WAITS_HEAD)
    clear_list(i64, f64, member + w.B_FIRST_HEAD)
    clear_list(i64, f64, member + w.B_FIRST_WAITS_HEAD)
    clear_list(i64, f64, member + w.B_CLAIMS_HEAD)
    clear_list(i64, f64, member + w.B_CLAIM_WAITS_HEAD)
    waiting = i64[member + w.B_FLUSH_HEAD]
    while waiting:
        if i64[waiting + w.N_A] == w.FLUSH_COMMIT:
            release_transaction(i64, f64, i64[waiting + w.N_B])
        waiting = i64[waiting]
    clear_list(i64, f64, member + w.B_FLUSH_HEAD)
    i64[member + w.B_BELOW] = 0
    i64[member + w.B_SCANNER] = 0
    while i64[member + w.B_OPEN_HEAD]:
        close(i64, f64, i64[member + w.B_OPEN_HEAD])


@entry
def forget_queue(i64: Ints, f64: Floats, member: int) -> None:
    """The process is dead: the queue is gone; what was ordered comes back by state transfer."""
    slot = i64[member + w.B_QUEUE_HEAD]
    while slot:
        after = i64[slot]
        give(i64, f64, w.FREE_SLOT, slot)
        slot = after
    i64[member + w.B_QUEUE_HEAD] = 0
    i64[member + w.B_QUEUE_HEAD + 1] = 0
    i64[member + w.B_QUEUE_WAITING] = 0
    i64[member + w.B_TARGET] = -1
    i64[member + w.B_APPLYING] = 0
    i64[member + w.B_RECEIVED] = i64[member + w.B_VISIBLE]
