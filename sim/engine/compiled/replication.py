"""A primary's commits and what its replicas get of them: `sim.engine.replication`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine import replication as plain
from sim.engine.compiled import layout as w
from sim.engine.compiled.cleanup import ordered
from sim.engine.compiled.database import apply_cost, end, flush, keep, release_transaction
from sim.engine.compiled.draws import cost
from sim.engine.compiled.events import append, give, node, push, push_urgent, take, wait_on
from sim.engine.compiled.galera import history_entry, make_history
from sim.engine.compiled.jit import Floats, Ints, entry, kernel
from sim.engine.compiled.network import blocked, delay, resumed_after, round_trip, rto
from sim.program import VPN

_ACK_BYTES = plain.ACKNOWLEDGEMENT_BYTES
_LOG_FLUSH = 1.0
"""Seconds between flushes of a log that is not flushed at each commit."""


@kernel
def primary_of(i64: Ints, f64: Floats, db: int) -> int:
    """The first member."""
    return i64[i64[db + w.E_MEMBERS]]


@entry
def cut_off(i64: Ints, f64: Floats, replica: int) -> bool:
    """Whether packets do not pass between the primary and ``replica`` in both directions."""
    here, there = i64[primary_of(i64, f64, i64[replica + w.B_DATABASE]) + w.A_SITE], i64[replica + w.A_SITE]
    return blocked(i64, f64, VPN, here, there) or blocked(i64, f64, VPN, there, here)


@kernel
def answer_up_to(i64: Ints, f64: Floats, db: int, position: int) -> None:
    """Clients of the commits up to ``position`` are answered."""
    head = db + w.E_WAIT_HEAD
    item = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    while item:
        after = i64[item]
        if i64[item + w.N_A] <= position:
            call = i64[item + w.N_B]
            if i64[call + w.C_TOKEN] == i64[item + w.N_C] and i64[call + w.C_WAIT] == w.WAITING:
                i64[call + w.C_WAIT] = w.GRANTED
                push(i64, f64, 0.0, w.ANY_CALL, call, i64[call + w.C_TOKEN])
            give(i64, f64, w.FREE_NODE, item)
        else:
            append(i64, f64, head, item)
        item = after


@entry
def stream(i64: Ints, f64: Floats, replica: int) -> None:
    """Send what the replica has not got, unless that is under way."""
    if i64[replica + w.B_STREAMING] or not i64[replica + w.B_CONNECTED]:
        return
    i64[replica + w.B_STREAMING] = 1
    process = take(i64, f64, w.FREE_STREAM, w.Z_WORDS)
    i64[process + w.Z_REPLICA] = replica
    i64[process + w.Z_PC] = w.Z_BEGIN
    push_urgent(i64, f64, w.STREAM_STEP, process, 0)


@kernel
def stream_step(i64: Ints, f64: Floats, process: int) -> None:
    """The sending process goes on."""
    replica = i64[process + w.Z_REPLICA]
    db = i64[replica + w.B_DATABASE]
    primary = primary_of(i64, f64, db)
    here, there = i64[primary + w.A_SITE], i64[replica + w.A_SITE]
    pc = i64[process + w.Z_PC]
    now = f64[w.NOW]
    if pc == w.Z_BEGIN:
        i64[process + w.Z_SENT] = i64[replica + w.B_ARRIVED]
        pc = w.Z_LOOP
    while True:
        if pc == w.Z_LOOP:
            up = i64[replica + w.A_UP] and i64[primary + w.A_UP]
            if not (i64[process + w.Z_SENT] < i64[db + w.E_POSITION] and i64[replica + w.B_CONNECTED] and up):
                i64[replica + w.B_STREAMING] = 0
                give(i64, f64, w.FREE_STREAM, process)
                return
            pc = w.Z_PAUSED
        if pc == w.Z_PAUSED:
            i64[process + w.Z_PC] = w.Z_PAUSED
            if i64[primary + w.A_PAUSED]:
                wait_on(i64, f64, primary + w.A_RESUMED_HEAD, w.STREAM_STEP, process, 0)
                return
            if cut_off(i64, f64, replica):
                f64[process + w.Z_SENT_AT] = now
                f64[process + w.Z_FIRST] = rto(round_trip(i64, f64, VPN, here, there))
                pc = w.Z_CUT
            else:
                sent, last = i64[process + w.Z_SENT], i64[db + w.E_POSITION]
                size = 0
                for position in range(sent + 1, last + 1):
                    size += i64[i64[history_entry(i64, f64, db, position)] + w.T_SIZE]
                seconds = delay(i64, f64, VPN, here, there, size)
                push(i64, f64, seconds, w.STREAM_RECEIVED, node(i64, f64, replica, sent + 1, last), 0)
                i64[process + w.Z_SENT] = last
                i64[process + w.Z_PC] = w.Z_LOOP
                push(i64, f64, 0.0, w.STREAM_STEP, process, 0)  # what is written meanwhile follows at once
                return
        if pc == w.Z_CUT:
            i64[process + w.Z_PC] = w.Z_CUT
            if cut_off(i64, f64, replica):
                wait_on(i64, f64, w.CHANGED_HEAD, w.STREAM_STEP, process, 0)
                return
            again = resumed_after(f64[process + w.Z_SENT_AT], now, f64[process + w.Z_FIRST])
            if again > now:
                i64[process + w.Z_PC] = w.Z_LOOP
                push(i64, f64, min(again - now, 1e6), w.STREAM_STEP, process, 0)
                return
            pc = w.Z_LOOP


@kernel
def stream_received(i64: Ints, f64: Floats, parcel: int) -> None:
    """A part of the log reached a replica."""
    replica, first, last = i64[parcel + w.N_A], i64[parcel + w.N_B], i64[parcel + w.N_C]
    if i64[replica + w.A_UP] and i64[replica + w.A_PAUSED]:
        wait_on(i64, f64, replica + w.A_RESUMED_HEAD, w.STREAM_RECEIVED, parcel, 0)
        return
    give(i64, f64, w.FREE_NODE, parcel)
    if not i64[replica + w.A_UP]:
        return
    now = f64[w.NOW]
    db = i64[replica + w.B_DATABASE]
    i64[replica + w.B_ARRIVED] = max(i64[replica + w.B_ARRIVED], last)
    if i64[db + w.E_SEMI_SYNC] and not cut_off(i64, f64, replica):
        site = i64[primary_of(i64, f64, db) + w.A_SITE]
        seconds = delay(i64, f64, VPN, i64[replica + w.A_SITE], site, _ACK_BYTES)
        push(i64, f64, seconds, w.STREAM_ACK, db, last)
    for position in range(first, last + 1):
        seconds = apply_cost(i64, f64, replica, i64[history_entry(i64, f64, db, position)])
        seconds += cost(i64, f64, f64[w.COST_COMMIT], f64[w.COST_COMMIT_CV], i64[replica + w.B_COMMIT_STREAM])
        done = max(now, f64[replica + w.B_APPLIER_FREE]) + seconds
        f64[replica + w.B_APPLIER_FREE] = done
        push(i64, f64, done - now, w.STREAM_VISIBLE, replica, position)


@kernel
def stream_visible(i64: Ints, f64: Floats, replica: int, position: int) -> None:
    """A transaction was applied at a replica."""
    i64[replica + w.B_APPLIED] = max(i64[replica + w.B_APPLIED], position)
    i64[replica + w.B_VISIBLE] = i64[replica + w.B_APPLIED]


@kernel
def acknowledged(i64: Ints, f64: Floats, db: int, position: int) -> None:
    """An acknowledgement reached the primary."""
    i64[db + w.E_ACKED] = max(i64[db + w.E_ACKED], position)
    if i64[db + w.E_SEMI_SYNC] and not i64[db + w.E_ACTIVE] and i64[db + w.E_ACKED] >= i64[db + w.E_POSITION]:
        i64[db + w.E_ACTIVE] = 1
    answer_up_to(i64, f64, db, i64[db + w.E_ACKED])


@kernel
def timed_out(i64: Ints, f64: Floats, db: int, position: int) -> None:
    """The wait of a commit timed out: semi-sync switches itself off, all waiting clients are answered."""
    item = i64[db + w.E_WAIT_HEAD]
    while item:
        if i64[item + w.N_A] == position:
            i64[db + w.E_ACTIVE] = 0
            answer_up_to(i64, f64, db, i64[db + w.E_POSITION])
            return
        item = i64[item]


@kernel
def trim_log(i64: Ints, f64: Floats, db: int) -> None:
    """Forget what every replica has and no crash of the primary can lose any more."""
    lowest = i64[db + w.E_POSITION]
    for index in range(1, i64[db + w.E_COUNT]):
        lowest = min(lowest, i64[i64[i64[db + w.E_MEMBERS] + index] + w.B_ARRIVED])
    tail = i64[db + w.E_HISTORY_TAIL]
    while tail < lowest:
        tx = i64[history_entry(i64, f64, db, tail + 1)]
        if f64[w.NOW] - f64[tx + w.T_WRITTEN] < _LOG_FLUSH:
            break
        tail += 1
        release_transaction(i64, f64, tx)
    i64[db + w.E_HISTORY_TAIL] = tail


@kernel
def written(i64: Ints, f64: Floats, call: int, pc: int, size: int) -> bool:
    """Flush, then wait for an acknowledgement if semi-sync asks for one; whether that is over."""
    primary, tx = i64[call + w.C_MEMBER], i64[call + w.C_TX]
    db = i64[primary + w.B_DATABASE]
    now = f64[w.NOW]
    if pc == w.PC_COMMIT:
        i64[tx + w.T_SIZE] = size
        i64[call + w.C_PC] = w.PC_FLUSHED
        flush(i64, f64, primary, w.FLUSH_CALL, call, i64[call + w.C_TOKEN])
        return False
    if pc == w.PC_FLUSHED:
        if i64[db + w.E_HISTORY_LEN] - i64[db + w.E_HISTORY_TAIL] >= i64[db + w.E_HISTORY_MASK] >> 1:
            trim_log(i64, f64, db)
            make_history(i64, f64, db)
        i64[tx + w.T_COMMITTED] = 1
        i64[primary + w.B_TOKEN_ROWS] = max(0, i64[primary + w.B_TOKEN_ROWS] + i64[tx + w.T_ROWS])
        f64[tx + w.T_WRITTEN] = now
        position = i64[db + w.E_POSITION] + 1
        i64[db + w.E_POSITION] = position
        i64[db + w.E_HISTORY_LEN] = position
        i64[history_entry(i64, f64, db, position)] = keep(i64, f64, tx)
        waits = i64[db + w.E_ACTIVE] != 0
        until = now + f64[db + w.E_SEMI_TIMEOUT]
        waiting = 0
        if waits:
            waiting = node(i64, f64, position, 0, 0)
            append(i64, f64, db + w.E_WAIT_HEAD, waiting)
        i64[tx + w.T_SEQNO] = position
        i64[primary + w.B_VISIBLE] = position
        if i64[db + w.E_TOKENS]:
            ordered(i64, f64, db, tx)
        end(i64, f64, tx)
        for index in range(1, i64[db + w.E_COUNT]):
            stream(i64, f64, i64[i64[db + w.E_MEMBERS] + index])
        if waits and until > now:
            i64[waiting + w.N_B] = call
            i64[waiting + w.N_C] = i64[call + w.C_TOKEN]
            i64[call + w.C_WAIT] = w.WAITING
            i64[call + w.C_PC] = w.PC_SEMI_SYNC
            push(i64, f64, until - now, w.ANY_CALL, call, i64[call + w.C_TOKEN])
            return False
        return True
    # PC_SEMI_SYNC
    granted = i64[call + w.C_WAIT] == w.GRANTED
    i64[call + w.C_WAIT] = w.IDLE
    if not granted:
        timed_out(i64, f64, db, i64[tx + w.T_SEQNO])
    return True


@entry
def lose_unflushed(i64: Ints, f64: Floats, db: int) -> None:
    """The primary crashed: what was not yet on disk and on no replica is lost."""
    for position in range(i64[db + w.E_HISTORY_TAIL] + 1, i64[db + w.E_POSITION] + 1):
        tx = i64[history_entry(i64, f64, db, position)]
        if f64[w.NOW] - f64[tx + w.T_WRITTEN] >= _LOG_FLUSH:
            continue
        kept = False
        for index in range(1, i64[db + w.E_COUNT]):
            if i64[i64[i64[db + w.E_MEMBERS] + index] + w.B_ARRIVED] >= position:
                kept = True
        if not kept:
            i64[tx + w.T_SURVIVED] = 0
