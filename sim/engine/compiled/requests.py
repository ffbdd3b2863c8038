"""Requests: their beginning, the lists they are on, their end."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.database import keep, release_transaction
from sim.engine.compiled.draws import lognormal, normal
from sim.engine.compiled.events import give, push, push_urgent, take, wait_on
from sim.engine.compiled.jit import Floats, Ints, entry, kernel

HEALTH = 4
"""Its place in sim.steps.KINDS."""


@kernel
def new_call(i64: Ints, f64: Floats, kind: int, stream: int, index: int, timeout: float) -> int:
    """A request with its own service times, to be answered within ``timeout`` seconds."""
    fresh = i64[w.FREE_CALL] == 0
    call = take(i64, f64, w.FREE_CALL, w.C_WORDS)
    if fresh:
        i64[call + w.C_ALL] = i64[w.ALL_CALLS]
        i64[w.ALL_CALLS] = call
    token, generation, chain = i64[call + w.C_TOKEN], i64[call + w.C_GENERATION], i64[call + w.C_ALL]
    for word in range(w.C_WORDS):
        i64[call + word] = 0
    i64[call + w.C_ALL] = chain
    i64[call + w.C_TOKEN] = token + 1
    i64[call + w.C_GENERATION] = generation + 1
    i64[call + w.C_ALIVE] = 1
    i64[call + w.C_KIND] = kind
    variation = i64[w.DEMAND_CV] + 2 * kind
    f64[call + w.C_APP] = lognormal(normal(i64, f64, stream, index), f64[variation])
    f64[call + w.C_DB] = lognormal(normal(i64, f64, stream, index + 1), f64[variation + 1])
    f64[call + w.C_DEADLINE] = f64[w.NOW] + timeout
    i64[call + w.C_FRESH] = 1
    i64[call + w.C_OUTCOME] = -1
    i64[call + w.C_REFERENCES] = 2  # its process and its reply
    return call


@kernel
def set_off(i64: Ints, f64: Floats, call: int, pc: int) -> None:
    """The request's process begins at ``pc``."""
    i64[call + w.C_PC] = pc
    push_urgent(i64, f64, w.RESUME_CALL, call, i64[call + w.C_TOKEN])


@kernel
def release_call(i64: Ints, f64: Floats, call: int) -> None:
    """Its process has ended, or its reply is known; after both nobody needs the record."""
    i64[call + w.C_REFERENCES] -= 1
    if i64[call + w.C_REFERENCES] > 0:
        return
    i64[call + w.C_ALIVE] = 0
    i64[call + w.C_TOKEN] += 1
    i64[call + w.C_GENERATION] += 1
    release_transaction(i64, f64, i64[call + w.C_ACCESS])
    release_transaction(i64, f64, i64[call + w.C_REFRESH])
    if i64[i64[w.WRITING] + i64[call + w.C_KIND]]:
        # the audit takes over the reference to the transaction
        place = i64[w.AUDIT] + 2 * i64[w.AUDIT_LEN]
        i64[w.AUDIT_LEN] += 1
        i64[place] = i64[call + w.C_OUTCOME]
        i64[place + 1] = i64[call + w.C_TX]
    else:
        release_transaction(i64, f64, i64[call + w.C_TX])
    give(i64, f64, w.FREE_CALL, call)


@kernel
def outcome_of(status: int, conflict: bool) -> int:
    """`experiments.observation.outcome_of`, by number."""
    if 200 <= status < 300:
        return w.OK
    if status == 400 or status == 401:
        return w.STALE
    if status == 500:
        return w.CONFLICT if conflict else w.SERVER_ERROR
    if status == 502:
        return w.BAD_GATEWAY
    if status == 503:
        return w.UNAVAILABLE
    if status == 504:
        return w.GATEWAY_TIMEOUT
    return w.OTHER


@kernel
def finish(i64: Ints, f64: Floats, call: int, status: int, outcome: int) -> None:
    """Tell the asker; only the first time counts. An ``outcome`` of -1 follows from the status."""
    if i64[call + w.C_OUTCOME] >= 0:
        return
    i64[call + w.C_STATUS] = status
    if outcome < 0 and i64[call + w.C_STALE] and status == 200:
        outcome = w.STALE
    if outcome < 0:
        outcome = outcome_of(status, i64[call + w.C_CONFLICT] != 0)
    i64[call + w.C_OUTCOME] = outcome
    push(i64, f64, 0.0, w.REPLY, call, i64[call + w.C_GENERATION])


@kernel
def limit(i64: Ints, f64: Floats, call: int, seconds: float, status: int) -> None:
    """Answer with ``status`` when nothing else has come after ``seconds``."""
    if f64[w.NOW] + seconds < f64[call + w.C_DEADLINE]:
        push(i64, f64, seconds, w.FINISH_CALL, call, i64[call + w.C_GENERATION] * 1024 + status)


@kernel
def runs(i64: Ints, f64: Floats, call: int, daemon: int) -> bool:
    """Whether the process is not paused; else the request waits where it is until it goes on."""
    if not i64[daemon + w.A_PAUSED]:
        return True
    wait_on(i64, f64, daemon + w.A_RESUMED_HEAD, w.RESUME_CALL, call, i64[call + w.C_TOKEN])
    return False


# -- lists of requests inside a process: three words (next, previous, whether it is on it) ------------


@kernel
def put_in(i64: Ints, f64: Floats, call: int, links: int, head: int) -> None:
    """Put the request at the end of a list unless it is on it."""
    here = call + links
    if i64[here + 2]:
        return
    i64[here + 2] = 1
    i64[here] = 0
    last = i64[head + 1]
    i64[here + 1] = last
    if last:
        i64[last + links] = call
    else:
        i64[head] = call
    i64[head + 1] = call


@kernel
def take_out(i64: Ints, f64: Floats, call: int, links: int, head: int) -> None:
    """Take the request off a list if it is on it."""
    here = call + links
    if not i64[here + 2]:
        return
    i64[here + 2] = 0
    after, before = i64[here], i64[here + 1]
    if before:
        i64[before + links] = after
    else:
        i64[head] = after
    if after:
        i64[after + links + 1] = before
    else:
        i64[head + 1] = before


@entry
def interrupt_all(i64: Ints, f64: Floats, daemon: int, links: int) -> None:
    """The process dies: everything inside it is interrupted."""
    head = daemon + w.A_INSIDE_HEAD
    while i64[head]:
        call = i64[head]
        take_out(i64, f64, call, links, head)
        push_urgent(i64, f64, w.INTERRUPT_CALL, call, daemon)


@entry
def refuse_all(i64: Ints, f64: Floats, daemon: int, links: int, head: int, status: int, outcome: int) -> None:
    """A proxy dies: whoever asked through it is told at once."""
    call = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    while call:
        after = i64[call + links]
        i64[call + links] = 0
        i64[call + links + 1] = 0
        i64[call + links + 2] = 0
        finish(i64, f64, call, status, outcome)
        call = after


@kernel
def remember(i64: Ints, f64: Floats, call: int, access: int, refresh: int) -> None:
    """The tokens that the request may present."""
    i64[call + w.C_ACCESS] = keep(i64, f64, access)
    i64[call + w.C_REFRESH] = keep(i64, f64, refresh)
