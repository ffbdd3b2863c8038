"""A member's timers while its view stands: `sim.protocols.membership_timers` where nobody is silent.

All else is left to Python: `sim.engine.cluster`.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import broadcast, push
from sim.engine.compiled.galera import can_send, is_ready
from sim.engine.compiled.jit import Floats, Ints, kernel, twins
from sim.engine.compiled.order import carry_out, is_quiet, outbox_of, put_keepalive, state_of, talks
from sim.protocols import membership_timers

all_heard = twins(membership_timers, ("all_heard",))["all_heard"]


@kernel
def member_timer(i64: Ints, f64: Floats, member: int, at: int) -> int:
    """A timer armed for ``at`` (the bits of a time) expires; returns why Python must see to it, or 0."""
    db, index = i64[member + w.B_DATABASE], i64[member + w.B_INDEX]
    armed = i64[db + w.E_ARMED] + index
    if i64[armed] != at or not talks(i64, f64, db, index):
        return 0
    n, now = i64[db + w.E_COUNT], f64[w.NOW]
    check_at, retrans_at = i64[db + w.E_CHECK_AT] + index, i64[db + w.E_RETRANS_AT] + index
    install_at, last_check = i64[db + w.E_INSTALL_AT] + index, i64[db + w.E_LAST_CHECK] + index
    period = f64[db + w.E_CHECK_PERIOD]
    peers = i64[i64[db + w.E_KNOWN] + index] & ~(1 << index)
    heard = f64[i64[db + w.E_HEARD] : i64[db + w.E_HEARD] + n * n]
    if (
        not can_send(i64, f64, member)
        or not is_ready(i64, f64, member)
        or not is_quiet(i64, f64, member)
        or f64[install_at] <= now
        or (
            f64[check_at] <= now and not all_heard(n, index, peers, heard, f64[db + w.E_SUSPECT_TIMEOUT], now)
        )
    ):
        return w.UP_TIMER
    keepalive = False
    while True:
        due = min(f64[check_at], f64[retrans_at])
        if due > now:
            break
        if f64[check_at] == due:
            if now - f64[last_check] <= 3 * period:
                i64[i64[db + w.E_SUSPECTED] + index] &= ~peers
            f64[last_check] = now
            f64[check_at] = now + period
        else:
            keepalive = True
            f64[retrans_at] = now + f64[db + w.E_KEEPALIVE_PERIOD]
    if keepalive:
        view = i64[member + w.B_VIEW]
        put_keepalive(state_of(i64, f64, view, n), index, outbox_of(i64, f64, db))
        carry_out(i64, f64, db, view, index)
    broadcast(i64, f64, member + w.B_CHANGED_HEAD)
    after = min(f64[check_at], f64[retrans_at], f64[install_at])
    f64[armed] = after
    push(i64, f64, after - now, w.MEMBER_TIMER, member, i64[armed])
    return 0
