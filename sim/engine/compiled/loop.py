"""The event loop: takes the next event and does what it says, until Python is needed."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.cpus import served
from sim.engine.compiled.database import release_transaction, start_flush
from sim.engine.compiled.endings import interrupt
from sim.engine.compiled.events import drop_top, give, push
from sim.engine.compiled.frontends import front_end, reverse_proxy, travel
from sim.engine.compiled.galera import can_send, committed, lock_granted, place, replayed
from sim.engine.compiled.jit import Floats, Ints, entry, kernel
from sim.engine.compiled.jobs import background
from sim.engine.compiled.network import connecting, repair
from sim.engine.compiled.order import arrive, arrived, broadcast_payload, is_quiet
from sim.engine.compiled.replication import acknowledged, stream_received, stream_step, stream_visible
from sim.engine.compiled.requests import finish, release_call
from sim.engine.compiled.sentinels import sentinel_message, sentinel_tick
from sim.engine.compiled.service import serve
from sim.engine.compiled.timers import member_timer
from sim.engine.compiled.users import check_step, dns_step, probe_step, record, user_answered, user_step
from sim.protocols import flowcontrol

_STOP_BYTES = flowcontrol.STOP_BYTES


@kernel
def go_on(i64: Ints, f64: Floats, call: int) -> None:
    """A request goes on until it has to wait."""
    more = True
    while more:
        pc = i64[call + w.C_PC]
        if pc >= w.PC_OVER:
            if pc == w.PC_OVER:
                return
            more = background(i64, f64, call, pc)
        elif pc >= w.PC_SERVICE:
            more = serve(i64, f64, call, pc)
        elif pc >= w.PC_NGINX:
            more = reverse_proxy(i64, f64, call, pc)
        elif pc >= w.PC_FRONT:
            more = front_end(i64, f64, call, pc)
        elif pc >= w.PC_TRAVEL:
            more = travel(i64, f64, call, pc)
        elif pc >= w.PC_CONNECT:
            more = connecting(i64, f64, call, pc)
        else:
            more = repair(i64, f64, call, pc)


@kernel
def wake_cpu(i64: Ints, f64: Floats, cpu: int, number: int) -> None:
    """Jobs are served."""
    job = served(i64, f64, cpu, number)
    while job:
        after = i64[job]
        kind, a, b = i64[job + w.J_KIND], i64[job + w.J_A], i64[job + w.J_B]
        give(i64, f64, w.FREE_JOB, job)
        if kind == w.JOB_CALL:
            i64[a + w.C_JOB] = 0
            push(i64, f64, 0.0, w.RESUME_CALL, a, b)
        elif kind == w.JOB_APPLY:
            place(i64, f64, a, b)
        else:
            replayed(i64, f64, a, b)
        job = after


@kernel
def flushed(i64: Ints, f64: Floats, member: int, group: int) -> None:
    """A group of commits is on disk."""
    i64[member + w.B_FLUSH_BUSY] = 0
    up = i64[member + w.A_UP] != 0
    while group:
        after = i64[group]
        kind, a, b = i64[group + w.N_A], i64[group + w.N_B], i64[group + w.N_C]
        give(i64, f64, w.FREE_NODE, group)
        if kind == w.FLUSH_COMMIT:
            if up:
                committed(i64, f64, member, a, b)
            release_transaction(i64, f64, a)
        elif up:
            push(i64, f64, 0.0, w.RESUME_CALL, a, b)
        group = after
    if i64[member + w.B_FLUSH_HEAD]:
        start_flush(i64, f64, member)


@kernel
def replied(i64: Ints, f64: Floats, call: int) -> None:
    """The asker has its answer, or knows that none will come."""
    waiter, who = i64[call + w.C_WAITER], i64[call + w.C_WHO]
    if waiter == w.USER:
        user_answered(i64, f64, who, call)
    elif waiter == w.PROBE:
        front = i64[call + w.C_FRONT_END]
        record(i64, f64, call, f64[call + w.C_START], 1, i64[who + w.P_SITE], i64[call + w.C_KIND], front)
    elif i64[who + w.K_TOKEN] == i64[call + w.C_WTOKEN]:
        i64[who + w.K_TOKEN] += 1
        push(i64, f64, 0.0, w.RESUME_CHECK if waiter == w.CHECK else w.RESUME_DNS, who, i64[who + w.K_TOKEN])
    release_call(i64, f64, call)


@kernel
def send_flow_control(i64: Ints, f64: Floats, member: int, number: int) -> int:
    """Broadcast STOP or CONTINUE; returns why Python must do it, 0 if it need not."""
    sent = i64[i64[member + w.B_DATABASE] + w.E_FLOW_SENT] + i64[member + w.B_INDEX]
    if i64[sent] != number & 1:
        return 0  # the view for which it was meant has ended
    if not can_send(i64, f64, member):
        i64[sent] = 0
        return 0
    if not is_quiet(i64, f64, member):
        return w.UP_FLOW
    broadcast_payload(i64, f64, member, 2 * number + 1, _STOP_BYTES)
    return 0


@kernel
def dispatch(i64: Ints, f64: Floats, code: int, a: int, b: int) -> int:
    """An event that is not a request's own; returns why Python must go on, 0 if it need not."""
    if code == w.CPU_WAKE:
        wake_cpu(i64, f64, a, b)
    elif code == w.ARRIVE:
        return arrive(i64, f64, a, b)
    elif code == w.SENTINEL_TICK:
        return sentinel_tick(i64, f64, a, b)
    elif code == w.SENTINEL_MESSAGE:
        return sentinel_message(i64, f64, a)
    elif code == w.MEMBER_TIMER:
        return member_timer(i64, f64, a, b)
    elif code == w.FINISH_CALL:
        if i64[a + w.C_GENERATION] == b >> 10:
            status = b & 1023
            finish(i64, f64, a, status, -1 if status else w.TIMED_OUT)
    elif code == w.REPLY:
        replied(i64, f64, a)
    elif code == w.FLUSHED:
        flushed(i64, f64, a, b)
    elif code == w.RESUME_USER:
        user_step(i64, f64, a)
    elif code == w.ANY_CALL:
        if i64[a + w.C_TOKEN] == b:
            i64[a + w.C_TOKEN] = b + 1
            push(i64, f64, 0.0, w.RESUME_CALL, a, b + 1)
    elif code == w.RESUME_PROBE:
        probe_step(i64, f64, a)
    elif code == w.RESUME_CHECK:
        if i64[a + w.K_TOKEN] == b:
            i64[a + w.K_TOKEN] = b + 1
            check_step(i64, f64, a)
    elif code == w.RESUME_DNS:
        if i64[a + w.K_TOKEN] == b:
            i64[a + w.K_TOKEN] = b + 1
            dns_step(i64, f64, a)
    elif code == w.ANY_CHECK or code == w.ANY_DNS:
        if i64[a + w.K_TOKEN] == b:
            i64[a + w.K_TOKEN] = b + 1
            push(i64, f64, 0.0, w.RESUME_CHECK if code == w.ANY_CHECK else w.RESUME_DNS, a, b + 1)
    elif code == w.ARRIVE_AGAIN:
        return arrived(i64, f64, a, b)
    elif code == w.FLOW_SEND:
        return send_flow_control(i64, f64, a, b)
    elif code == w.STREAM_STEP:
        stream_step(i64, f64, a)
    elif code == w.STREAM_RECEIVED:
        stream_received(i64, f64, a)
    elif code == w.STREAM_ACK:
        acknowledged(i64, f64, a, b)
    elif code == w.STREAM_VISIBLE:
        stream_visible(i64, f64, a, b)
    elif code == w.APPLIER_GRANTED:
        lock_granted(i64, f64, a, b)
    else:
        return w.UP_PYTHON
    return 0


@kernel
def has_room(i64: Ints, f64: Floats) -> bool:
    """Whether another event can do what it may without overflowing anything."""
    margin = i64[w.MARGIN]
    return (
        i64[w.END] - i64[w.TOP] > i64[w.ROOM]
        and i64[w.HEAP_CAP] - i64[w.HEAP_LEN] > margin
        and i64[w.FIFO_MASK] - (i64[w.FIFO_TAIL] - i64[w.FIFO_HEAD]) > margin
        and i64[w.URGENT_MASK] - (i64[w.URGENT_TAIL] - i64[w.URGENT_HEAD]) > margin
        and i64[w.ROWS_LEN] < w.ROWS_CAP - 64
        and i64[w.AUDIT_LEN] < w.AUDIT_CAP - 64
        and i64[w.LOG_LEN] < w.LOG_CAP - 64
    )


@entry
def run(i64: Ints, f64: Floats, until: float) -> int:
    """Carry out events up to ``until``; returns why Python must go on."""
    while True:
        if not has_room(i64, f64):
            return w.UP_ROOM
        if i64[w.PROCEED]:
            code, a, b = w.RESUME_CALL, i64[w.PROCEED], -1
            i64[w.PROCEED] = 0
        elif i64[w.BROADCAST_NEXT]:
            waiter = i64[w.BROADCAST_NEXT]
            i64[w.BROADCAST_NEXT] = i64[waiter]
            code, a, b = i64[waiter + w.N_A], i64[waiter + w.N_B], i64[waiter + w.N_C]
            give(i64, f64, w.FREE_NODE, waiter)
        elif i64[w.URGENT_HEAD] != i64[w.URGENT_TAIL]:
            place = i64[w.URGENT] + (i64[w.URGENT_HEAD] & i64[w.URGENT_MASK]) * w.QUEUE_ENTRY
            i64[w.URGENT_HEAD] += 1
            code, a, b = i64[place + 1], i64[place + 2], i64[place + 3]
        else:
            top = i64[w.HEAP]
            queued = i64[w.FIFO_HEAD] != i64[w.FIFO_TAIL]
            if queued:
                place = i64[w.FIFO] + (i64[w.FIFO_HEAD] & i64[w.FIFO_MASK]) * w.QUEUE_ENTRY
                if i64[w.HEAP_LEN] and f64[top] <= f64[w.NOW] and i64[top + 1] < i64[place]:
                    queued = False
            if queued:
                if f64[w.NOW] > until:
                    return w.DONE
                i64[w.FIFO_HEAD] += 1
                code, a, b = i64[place + 1], i64[place + 2], i64[place + 3]
            else:
                if not i64[w.HEAP_LEN] or f64[top] > until:
                    return w.DONE
                f64[w.NOW] = f64[top]
                code, a, b = i64[top + 2], i64[top + 3], i64[top + 4]
                drop_top(i64, f64)
            i64[w.EVENT_COUNT] += 1
            if code == w.BROADCAST:
                i64[w.BROADCAST_NEXT] = a
                continue
        if code == w.RESUME_CALL or code == w.INTERRUPT_CALL:
            if code == w.INTERRUPT_CALL:
                interrupt(i64, f64, a, b)
            elif i64[a + w.C_TOKEN] == b:
                i64[a + w.C_TOKEN] = b + 1
            elif b >= 0:
                continue
            go_on(i64, f64, a)
            why = i64[w.UP]
        else:
            why = dispatch(i64, f64, code, a, b)
        if why:
            if why != i64[w.UP]:
                i64[w.UP_A] = a
                i64[w.UP_B] = b
            i64[w.UP] = 0
            return why
