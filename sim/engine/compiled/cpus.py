"""CPUs under a quota: `sim.engine.stations.Cpu`, statement for statement."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import append, give, push, take
from sim.engine.compiled.jit import Floats, Ints, entry, kernel
from sim.engine.compiled.machines import advance_groups, plan_groups, served_groups
from sim.engine.compiled.runqueue import ENTRY, dequeue, drop_dead, enqueue, take_list, take_served

_TINY = 1e-12


@kernel
def open_period(i64: Ints, f64: Floats, cpu: int, now: float) -> None:
    """A new quota period has begun."""
    skipped = int((now - f64[cpu + w.Q_BOUNDARY]) / f64[cpu + w.Q_PERIOD] + _TINY) + 1
    f64[cpu + w.Q_BOUNDARY] += skipped * f64[cpu + w.Q_PERIOD]
    f64[cpu + w.Q_BUDGET] = f64[cpu + w.Q_GRANT]


@kernel
def run_time(i64: Ints, f64: Floats, cpu: int, now: float) -> float:
    """Seconds in which the jobs ran between the last change and ``now``; spends the budget."""
    grant = f64[cpu + w.Q_GRANT]
    since = f64[cpu + w.Q_SINCE]
    if grant < 0.0:
        return now - since
    rate = min(float(i64[cpu + w.Q_COUNT]), f64[cpu + w.Q_CORES])
    if since >= f64[cpu + w.Q_BOUNDARY] - _TINY:
        open_period(i64, f64, cpu, since)
    boundary = f64[cpu + w.Q_BOUNDARY]
    if now < boundary - _TINY:
        ran = min(now - since, f64[cpu + w.Q_BUDGET] / rate)
        f64[cpu + w.Q_BUDGET] -= ran * rate
        return ran
    period = f64[cpu + w.Q_PERIOD]
    total = min(boundary - since, f64[cpu + w.Q_BUDGET] / rate)
    full = min(period, grant / rate)
    periods = int((now - boundary) / period + _TINY)
    total += periods * full
    begin = boundary + periods * period
    ran = min(max(0.0, now - begin), grant / rate)
    f64[cpu + w.Q_BOUNDARY] = begin + period
    f64[cpu + w.Q_BUDGET] = grant - ran * rate
    return total + ran


@kernel
def advance(i64: Ints, f64: Floats, cpu: int) -> None:
    """Bring the attained service up to now."""
    if i64[cpu + w.Q_MACHINE]:
        advance_groups(i64, f64, i64[cpu + w.Q_MACHINE])
        return
    now = f64[w.NOW]
    if now <= f64[cpu + w.Q_SINCE]:
        return
    count = i64[cpu + w.Q_COUNT]
    if count:
        cores = f64[cpu + w.Q_CORES]
        ran = run_time(i64, f64, cpu, now)
        f64[cpu + w.Q_ATTAINED] += ran * min(1.0, cores / count)
        f64[cpu + w.Q_BUSY] += ran * min(float(count), cores)
    f64[cpu + w.Q_SINCE] = now


@kernel
def time_to_run(i64: Ints, f64: Floats, cpu: int, seconds: float) -> float:
    """When the jobs, unchanged, will have run for ``seconds`` from now on."""
    now = f64[w.NOW]
    grant = f64[cpu + w.Q_GRANT]
    if grant < 0.0:
        return now + seconds
    rate = min(float(i64[cpu + w.Q_COUNT]), f64[cpu + w.Q_CORES])
    if now >= f64[cpu + w.Q_BOUNDARY] - _TINY:
        open_period(i64, f64, cpu, now)
    boundary = f64[cpu + w.Q_BOUNDARY]
    here = min(boundary - now, f64[cpu + w.Q_BUDGET] / rate)
    if seconds <= here + _TINY:
        return now + seconds
    seconds -= here
    full = min(f64[cpu + w.Q_PERIOD], grant / rate)
    periods = int(seconds / full)
    rest = seconds - periods * full
    if rest <= _TINY * 10 and periods:
        periods, rest = periods - 1, full
    return boundary + periods * f64[cpu + w.Q_PERIOD] + rest


@kernel
def plan(i64: Ints, f64: Floats, cpu: int) -> None:
    """Wake up when the next job is served."""
    if i64[cpu + w.Q_MACHINE]:
        plan_groups(i64, f64, i64[cpu + w.Q_MACHINE])
        return
    drop_dead(i64, f64, cpu)
    if not i64[cpu + w.Q_HEAP_LEN]:
        return
    first = f64[i64[cpu + w.Q_HEAP]]
    seconds = max(0.0, first - f64[cpu + w.Q_ATTAINED]) * max(
        1.0, i64[cpu + w.Q_COUNT] / f64[cpu + w.Q_CORES]
    )
    at = time_to_run(i64, f64, cpu, seconds)
    if at < f64[cpu + w.Q_WAKE_AT] - _TINY:
        i64[cpu + w.Q_WAKE_ID] += 1
        f64[cpu + w.Q_WAKE_AT] = at
        push(i64, f64, max(0.0, at - f64[w.NOW]), w.CPU_WAKE, cpu, i64[cpu + w.Q_WAKE_ID])


@kernel
def enter(i64: Ints, f64: Floats, cpu: int, job: int) -> None:
    """Take a job into service."""
    i64[cpu + w.Q_ORDER] += 1
    enqueue(i64, f64, cpu, f64[job + w.J_FINISH], i64[cpu + w.Q_ORDER], job)
    i64[cpu + w.Q_COUNT] += 1
    plan(i64, f64, cpu)


@kernel
def is_stopped(i64: Ints, f64: Floats, job: int) -> bool:
    """Whether a process that does the job is stopped."""
    if i64[i64[job + w.J_OWNER] + w.A_STOPPED]:
        return True
    other = i64[job + w.J_OWNER2]
    return other != 0 and i64[other + w.A_STOPPED] != 0


@kernel
def submit(
    i64: Ints, f64: Floats, cpu: int, demand: float, owner: int, owner2: int, kind: int, a: int, b: int
) -> int:
    """Serve ``demand`` core-seconds, then do what ``kind`` says with ``a`` and ``b``."""
    advance(i64, f64, cpu)
    job = take(i64, f64, w.FREE_JOB, w.J_WORDS)
    i64[job + w.J_LIVE] = 1
    i64[job + w.J_OWNER] = owner
    i64[job + w.J_OWNER2] = owner2
    i64[job + w.J_KIND] = kind
    i64[job + w.J_A] = a
    i64[job + w.J_B] = b
    i64[job + w.J_HELD] = 0
    f64[job + w.J_LEFT] = 0.0
    f64[job + w.J_FINISH] = f64[cpu + w.Q_ATTAINED] + demand
    if is_stopped(i64, f64, job):
        f64[job + w.J_LEFT] = demand
        i64[job + w.J_HELD] = 1
        append(i64, f64, cpu + w.Q_HELD_HEAD, job)
    else:
        enter(i64, f64, cpu, job)
    return job


@entry
def stalled(i64: Ints, f64: Floats, cpu: int) -> float:
    """Seconds until the group may run again: 0 unless the quota of this period is used up."""
    advance(i64, f64, cpu)
    now = f64[w.NOW]
    if f64[cpu + w.Q_GRANT] < 0.0 or f64[cpu + w.Q_BUDGET] > _TINY or now >= f64[cpu + w.Q_BOUNDARY] - _TINY:
        return 0.0
    return f64[cpu + w.Q_BOUNDARY] - now


@kernel
def unhold(i64: Ints, f64: Floats, cpu: int, gone: int) -> None:
    """Take job ``gone`` off the list of those held."""
    head = cpu + w.Q_HELD_HEAD
    item = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    while item:
        after = i64[item]
        if item == gone:
            give(i64, f64, w.FREE_JOB, item)
        else:
            append(i64, f64, head, item)
        item = after


@kernel
def cancel(i64: Ints, f64: Floats, cpu: int, job: int) -> None:
    """Drop a job whose request no longer waits for it."""
    advance(i64, f64, cpu)
    i64[job + w.J_LIVE] = 0
    if i64[job + w.J_HELD]:
        unhold(i64, f64, cpu, job)
        return
    i64[cpu + w.Q_COUNT] -= 1
    plan(i64, f64, cpu)


@kernel
def forget(i64: Ints, f64: Floats, job: int) -> None:
    """A dropped job is over; its request has nothing left to cancel."""
    if i64[job + w.J_KIND] == w.JOB_CALL:
        i64[i64[job + w.J_A] + w.C_JOB] = 0
    give(i64, f64, w.FREE_JOB, job)


@kernel
def refill(i64: Ints, f64: Floats, cpu: int, kept: int) -> None:
    """Put back the ``kept`` entries that were saved at the end of the memory, in order: they are a heap."""
    base = i64[cpu + w.Q_HEAP]
    saved = i64[w.TOP]
    for word in range(kept * ENTRY):
        i64[base + word] = i64[saved + word]
        i64[saved + word] = 0
    i64[cpu + w.Q_HEAP_LEN] = kept
    i64[cpu + w.Q_COUNT] = kept
    plan(i64, f64, cpu)


@kernel
def save(i64: Ints, f64: Floats, cpu: int, kept: int) -> None:
    """Copy the top entry of the heap to the end of the memory."""
    base = i64[cpu + w.Q_HEAP]
    place = i64[w.TOP] + kept * ENTRY
    i64[place] = i64[base]
    i64[place + 1] = i64[base + 1]
    i64[place + 2] = i64[base + 2]


@entry
def pause(i64: Ints, f64: Floats, daemon: int) -> None:
    """Stop serving the jobs of ``daemon`` (SIGSTOP); new ones wait too."""
    cpu = i64[daemon + w.A_CPU]
    advance(i64, f64, cpu)
    i64[daemon + w.A_STOPPED] = 1
    kept = 0
    while i64[cpu + w.Q_HEAP_LEN]:
        job = i64[i64[cpu + w.Q_HEAP] + 2]
        if not i64[job + w.J_LIVE]:
            give(i64, f64, w.FREE_JOB, dequeue(i64, f64, cpu))
        elif i64[job + w.J_OWNER] == daemon or i64[job + w.J_OWNER2] == daemon:
            dequeue(i64, f64, cpu)
            f64[job + w.J_LEFT] = max(0.0, f64[job + w.J_FINISH] - f64[cpu + w.Q_ATTAINED])
            i64[job + w.J_HELD] = 1
            append(i64, f64, cpu + w.Q_HELD_HEAD, job)
        else:
            save(i64, f64, cpu, kept)
            kept += 1
            dequeue(i64, f64, cpu)
    refill(i64, f64, cpu, kept)


@entry
def resume(i64: Ints, f64: Floats, daemon: int) -> None:
    """Go on with the jobs of ``daemon`` (SIGCONT)."""
    cpu = i64[daemon + w.A_CPU]
    advance(i64, f64, cpu)
    i64[daemon + w.A_STOPPED] = 0
    head = cpu + w.Q_HELD_HEAD
    job = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    while job:
        after = i64[job]
        if is_stopped(i64, f64, job):
            append(i64, f64, head, job)
        else:
            i64[job] = 0
            i64[job + w.J_HELD] = 0
            f64[job + w.J_FINISH] = f64[cpu + w.Q_ATTAINED] + f64[job + w.J_LEFT]
            enter(i64, f64, cpu, job)
        job = after


@entry
def drop(i64: Ints, f64: Floats, daemon: int) -> None:
    """Forget all jobs of ``daemon``: its process is dead, nobody waits for the results."""
    cpu = i64[daemon + w.A_CPU]
    advance(i64, f64, cpu)
    i64[daemon + w.A_STOPPED] = 0
    head = cpu + w.Q_HELD_HEAD
    job = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    while job:
        after = i64[job]
        if i64[job + w.J_OWNER] == daemon or i64[job + w.J_OWNER2] == daemon:
            forget(i64, f64, job)
        else:
            append(i64, f64, head, job)
        job = after
    kept = 0
    while i64[cpu + w.Q_HEAP_LEN]:
        job = i64[i64[cpu + w.Q_HEAP] + 2]
        if not i64[job + w.J_LIVE]:
            give(i64, f64, w.FREE_JOB, dequeue(i64, f64, cpu))
        elif i64[job + w.J_OWNER] == daemon or i64[job + w.J_OWNER2] == daemon:
            forget(i64, f64, dequeue(i64, f64, cpu))
        else:
            save(i64, f64, cpu, kept)
            kept += 1
            dequeue(i64, f64, cpu)
    refill(i64, f64, cpu, kept)


@kernel
def served(i64: Ints, f64: Floats, cpu: int, number: int) -> int:
    """A wake-up: takes what is served out of the heap and returns it as a list."""
    if i64[cpu + w.Q_MACHINE]:
        return served_groups(i64, f64, i64[cpu + w.Q_MACHINE], number)
    if number != i64[cpu + w.Q_WAKE_ID]:
        return 0
    f64[cpu + w.Q_WAKE_AT] = math.inf
    advance(i64, f64, cpu)
    take_served(i64, f64, cpu, cpu + w.Q_SERVED_HEAD)
    plan(i64, f64, cpu)
    return take_list(i64, f64, cpu + w.Q_SERVED_HEAD)
