"""Threads and database connections of a service: `sim.engine.pools` over `sim.protocols.pool`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine import pools as plain
from sim.engine.compiled import layout as w
from sim.engine.compiled.events import push
from sim.engine.compiled.jit import Floats, Ints, entry, kernel

_IDLE_WITHOUT_TEST = plain.IDLE_WITHOUT_TEST
_FIRST_RETRY, _LONGEST_RETRY, _RETRY_FACTOR = plain.FIRST_RETRY, plain.LONGEST_RETRY, plain.RETRY_FACTOR
_ROUNDING = plain.ROUNDING


@kernel
def acquire(i64: Ints, f64: Floats, pool: int, call: int) -> bool:
    """Ask for one: whether the request has it now; else it waits in line."""
    if i64[pool + w.O_BUSY] < i64[pool + w.O_CAPACITY] and not i64[pool + w.O_WAITING]:
        i64[pool + w.O_BUSY] += 1
        return True
    i64[call + w.C_WAIT] = w.WAITING
    i64[call + w.C_POOL] = pool
    i64[call + w.C_POOL_NEXT] = 0
    last = i64[pool + w.O_TAIL]
    i64[call + w.C_POOL_PREV] = last
    if last:
        i64[last + w.C_POOL_NEXT] = call
    else:
        i64[pool + w.O_HEAD] = call
    i64[pool + w.O_TAIL] = call
    i64[pool + w.O_WAITING] += 1
    return False


@kernel
def leave_line(i64: Ints, f64: Floats, call: int) -> None:
    """The request waits no longer."""
    pool, before, after = i64[call + w.C_POOL], i64[call + w.C_POOL_PREV], i64[call + w.C_POOL_NEXT]
    if before:
        i64[before + w.C_POOL_NEXT] = after
    else:
        i64[pool + w.O_HEAD] = after
    if after:
        i64[after + w.C_POOL_PREV] = before
    else:
        i64[pool + w.O_TAIL] = before
    i64[pool + w.O_WAITING] -= 1


@kernel
def release(i64: Ints, f64: Floats, pool: int, code: int) -> None:
    """Give one back; who is first in line gets it, by an event ``code``."""
    call = i64[pool + w.O_HEAD]
    if call:
        leave_line(i64, f64, call)
        i64[call + w.C_WAIT] = w.GRANTED
        push(i64, f64, 0.0, code, call, i64[call + w.C_TOKEN])
    else:
        i64[pool + w.O_BUSY] -= 1


@kernel
def got(i64: Ints, f64: Floats, call: int) -> bool:
    """The wait is over: whether it was successful; if not, the request is out of the line."""
    granted = i64[call + w.C_WAIT] == w.GRANTED
    if not granted:
        leave_line(i64, f64, call)
    i64[call + w.C_WAIT] = w.IDLE
    return granted


@kernel
def give_back(i64: Ints, f64: Floats, pool: int, broken: bool) -> None:
    """Give a connection back, or throw it away."""
    if not broken:
        f64[i64[pool + w.O_IDLE] + i64[pool + w.O_IDLE_LEN]] = f64[w.NOW]
        i64[pool + w.O_IDLE_LEN] += 1
    release(i64, f64, pool, w.ANY_CALL)


@kernel
def take_idle(i64: Ints, f64: Floats, pool: int, serving: bool) -> bool:
    """Take the idle connection used last; those that fail the test on the way are thrown away."""
    while i64[pool + w.O_IDLE_LEN]:
        i64[pool + w.O_IDLE_LEN] -= 1
        used = f64[i64[pool + w.O_IDLE] + i64[pool + w.O_IDLE_LEN]]
        if serving or (used >= 0 and f64[w.NOW] - used <= _IDLE_WITHOUT_TEST):
            return True
    return False


@kernel
def opened(i64: Ints, f64: Floats, pool: int, opening: bool, hanging: bool) -> bool:
    """Whether the one thread that opens connections gets one now; after a failure it sleeps."""
    now, pause = f64[w.NOW], f64[pool + w.O_PAUSE]
    if pause and now < f64[pool + w.O_NEXT] - _ROUNDING:
        return False
    if opening:
        f64[pool + w.O_PAUSE] = 0.0
        return True
    if hanging:
        f64[pool + w.O_PAUSE] = pause if pause else _FIRST_RETRY
        f64[pool + w.O_NEXT] = now + _FIRST_RETRY
        return False
    pause = min(_LONGEST_RETRY, pause * _RETRY_FACTOR) if pause else _FIRST_RETRY
    f64[pool + w.O_PAUSE] = pause
    f64[pool + w.O_NEXT] = now + min(pause, f64[pool + w.O_TIMEOUT])
    return False


@entry
def renew(i64: Ints, f64: Floats, pool: int, idle: int) -> None:
    """A new process has a new pool, with ``idle`` connections ready."""
    i64[pool + w.O_BUSY] = 0
    i64[pool + w.O_WAITING] = 0
    i64[pool + w.O_HEAD] = 0
    i64[pool + w.O_TAIL] = 0
    i64[pool + w.O_IDLE_LEN] = idle
    f64[pool + w.O_PAUSE] = 0.0
    for k in range(idle):
        f64[i64[pool + w.O_IDLE] + k] = -1.0
