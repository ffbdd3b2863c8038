"""Links, and the parts of a request that wait for them: `sim.engine.network`, statement for statement."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math

from sim.engine.compiled import layout as w
from sim.engine.compiled.draws import following, uniform
from sim.engine.compiled.events import push, wait_on
from sim.engine.compiled.jit import Floats, Ints, entry, kernel, twins
from sim.engine.network import _SEGMENT, SAME_SITE
from sim.program import VPN, VPN_OVERHEAD
from sim.protocols import tcp

_made = twins(tcp, ("rto", "loss_delay", "syn_loss_delay", "resumed_after", "connected_after", "in_order"))
rto = _made["rto"]
loss_delay = _made["loss_delay"]
syn_loss_delay = _made["syn_loss_delay"]
resumed_after = _made["resumed_after"]
connected_after = _made["connected_after"]
in_order = _made["in_order"]

_RETRIES = tcp.DATA_RETRIES


@kernel
def link(i64: Ints, f64: Floats, path: int, i: int, j: int) -> int:
    """The record of one direction."""
    n = i64[w.SITES]
    return i64[w.NETWORK] + ((path * n + i) * n + j) * w.L_WORDS


@kernel
def one_way(i64: Ints, f64: Floats, path: int, i: int, j: int) -> float:
    """Propagation delay in seconds now, jitter and loss left out."""
    if i == j:
        return SAME_SITE
    return f64[link(i64, f64, path, i, j) + w.L_DELAY]


@kernel
def round_trip(i64: Ints, f64: Floats, path: int, i: int, j: int) -> float:
    """Round-trip propagation delay in seconds now."""
    return one_way(i64, f64, path, i, j) + one_way(i64, f64, path, j, i)


@entry
def carried(i64: Ints, f64: Floats, path: int, i: int, j: int, size: int, syn: bool) -> float:
    """Seconds that a message of ``size`` bytes, or one that opens a connection, takes over a live link."""
    if i == j:
        return SAME_SITE
    here = link(i64, f64, path, i, j)
    packets = -(-size // _SEGMENT)
    header = 40 + VPN_OVERHEAD if path == VPN else 40
    wire = (size + packets * header) * 8 / f64[here + w.L_BANDWIDTH]
    now = f64[w.NOW]
    start = max(f64[here + w.L_FREE], now)
    f64[here + w.L_FREE] = start + wire
    total = start + wire - now + f64[here + w.L_DELAY]
    jitter = f64[here + w.L_JITTER]
    stream = i64[here + w.L_STREAM]
    if jitter != 0.0:
        total = max(0.0, total + jitter * (2 * uniform(i64, f64, stream, following(i64, f64, stream)) - 1))
    loss = f64[here + w.L_LOSS]
    if loss != 0.0:
        losses = 0
        chance = 1 - math.pow(1 - loss, float(packets))
        while uniform(i64, f64, stream, following(i64, f64, stream)) < chance and losses < _RETRIES:
            losses += 1
            chance = loss
        if syn:
            total += syn_loss_delay(losses)
        else:
            total += loss_delay(round_trip(i64, f64, path, i, j), losses, packets)
    return total


@kernel
def delay(i64: Ints, f64: Floats, path: int, i: int, j: int, size: int) -> float:
    """The same for a message of an open connection."""
    return carried(i64, f64, path, i, j, size, False)


@kernel
def blocked(i64: Ints, f64: Floats, path: int, i: int, j: int) -> bool:
    """Whether nothing passes from ``i`` to ``j``."""
    return i64[link(i64, f64, path, i, j) + w.L_BLOCKED] != 0


@kernel
def resume_later(i64: Ints, f64: Floats, call: int, seconds: float, pc: int) -> bool:
    """The request goes on at ``pc`` after ``seconds``."""
    i64[call + w.C_PC] = pc
    push(i64, f64, seconds, w.RESUME_CALL, call, i64[call + w.C_TOKEN])
    return False


@kernel
def transfer(i64: Ints, f64: Floats, call: int, path: int, i: int, j: int, size: int, pc: int) -> bool:
    """Carry a message of an open connection, then go on at ``pc``; over a dead link it waits for the repair.

    Returns:
        Whether the request can go on at once.
    """
    if i == j:
        i64[call + w.C_PC] = pc
        return True
    if not blocked(i64, f64, path, i, j):
        return resume_later(i64, f64, call, delay(i64, f64, path, i, j, size), pc)
    i64[call + w.C_PATH] = path
    i64[call + w.C_FROM] = i
    i64[call + w.C_TO] = j
    i64[call + w.C_SIZE] = size
    i64[call + w.C_RET] = pc
    f64[call + w.C_SENT_AT] = f64[w.NOW]
    f64[call + w.C_FIRST] = rto(round_trip(i64, f64, path, i, j))
    i64[call + w.C_PC] = w.PC_REPAIR
    return True


@kernel
def repair(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """A message waits until a retransmission passes."""
    path, i, j = i64[call + w.C_PATH], i64[call + w.C_FROM], i64[call + w.C_TO]
    dead = blocked(i64, f64, path, i, j)
    if pc == w.PC_REPAIR:
        if dead:
            wait_on(i64, f64, w.CHANGED_HEAD, w.RESUME_CALL, call, i64[call + w.C_TOKEN])
            return False
        now = f64[w.NOW]
        again = resumed_after(f64[call + w.C_SENT_AT], now, f64[call + w.C_FIRST])
        if again > now:
            return resume_later(i64, f64, call, min(again - now, 1e6), w.PC_REPAIRED)
    if dead:
        i64[call + w.C_PC] = w.PC_REPAIR
        return True
    return resume_later(
        i64, f64, call, delay(i64, f64, path, i, j, i64[call + w.C_SIZE]), i64[call + w.C_RET]
    )


@kernel
def connect(i64: Ints, f64: Floats, call: int, path: int, i: int, j: int, timeout: float, pc: int) -> bool:
    """Open a connection, then go on at ``pc`` with `C_GOT`; whether that is at once."""
    if i == j:
        i64[call + w.C_GOT] = 1
        i64[call + w.C_PC] = pc
        return True
    if not (blocked(i64, f64, path, i, j) or blocked(i64, f64, path, j, i)):
        took = carried(i64, f64, path, i, j, 60, True) + carried(i64, f64, path, j, i, 60, True)
        i64[call + w.C_GOT] = 1 if took <= timeout else 0
        return resume_later(i64, f64, call, min(took, timeout), pc)
    i64[call + w.C_PATH] = path
    i64[call + w.C_FROM] = i
    i64[call + w.C_TO] = j
    i64[call + w.C_RET] = pc
    f64[call + w.C_SENT_AT] = f64[w.NOW]
    f64[call + w.C_LIMIT] = timeout
    i64[call + w.C_PC] = w.PC_CONNECT
    return True


@kernel
def connecting(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """A connection is being made into a dead link."""
    path, i, j = i64[call + w.C_PATH], i64[call + w.C_FROM], i64[call + w.C_TO]
    started, timeout = f64[call + w.C_SENT_AT], f64[call + w.C_LIMIT]
    now = f64[w.NOW]
    dead = blocked(i64, f64, path, i, j) or blocked(i64, f64, path, j, i)
    if pc == w.PC_CONNECT_SENT and not dead:
        i64[call + w.C_GOT] = 1
        return resume_later(i64, f64, call, f64[call + w.C_FIRST], i64[call + w.C_RET])
    i64[call + w.C_PC] = w.PC_CONNECT
    if dead:
        left = started + timeout - now
        if left <= 0:
            i64[call + w.C_GOT] = 0
            i64[call + w.C_PC] = i64[call + w.C_RET]
            return True
        push(i64, f64, left, w.ANY_CALL, call, i64[call + w.C_TOKEN])
        wait_on(i64, f64, w.CHANGED_HEAD, w.ANY_CALL, call, i64[call + w.C_TOKEN])
        return False
    rtt = round_trip(i64, f64, path, i, j)
    f64[call + w.C_FIRST] = rtt
    through = connected_after(started, now, rtt, timeout, i64[w.SYN_LINEAR])
    if through > started + timeout:
        i64[call + w.C_GOT] = 0
        return resume_later(i64, f64, call, max(0.0, started + timeout - now), i64[call + w.C_RET])
    return resume_later(i64, f64, call, max(0.0, through - rtt - now), w.PC_CONNECT_SENT)
