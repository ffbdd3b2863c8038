"""What a request meets in the database: rows that are not there yet, and locks."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim import steps
from sim.engine.compiled import layout as w
from sim.engine.compiled.database import request
from sim.engine.compiled.endings import row_of
from sim.engine.compiled.events import push
from sim.engine.compiled.gaps import begin_scan, family_of
from sim.engine.compiled.jit import Floats, Ints, kernel
from sim.protocols import rowlocks

_LOCK_RANGE = steps.LOCK_RANGE
_LOCK_TIMEOUT = rowlocks.LOCK_WAIT_TIMEOUT


@kernel
def sees(i64: Ints, f64: Floats, member: int, tx: int) -> bool:
    """Whether what the transaction wrote can be read at the member now."""
    if not i64[i64[member + w.B_DATABASE] + w.E_GALERA]:
        return i64[tx + w.T_COMMITTED] != 0
    return i64[tx + w.T_MEMBER] == member or 0 < i64[tx + w.T_SEQNO] <= i64[member + w.B_VISIBLE]


@kernel
def lock(i64: Ints, f64: Floats, call: int, resource: int, mode: int, pc: int) -> bool:
    """Take a lock, waiting for it as long as InnoDB does, then go on at ``pc``; whether that is at once."""
    tx = i64[call + w.C_TX]
    granted = request(i64, f64, i64[call + w.C_MEMBER] + resource, tx, mode, False)
    return locked(i64, f64, call, granted, pc)


@kernel
def locked(i64: Ints, f64: Floats, call: int, granted: bool, pc: int) -> bool:
    """Go on at ``pc`` with a lock, or wait for it; whether that is at once."""
    if granted:
        i64[call + w.C_PC] = pc
        return True
    i64[i64[call + w.C_TX] + w.T_LOCK_WAIT] = w.WAITING
    i64[call + w.C_RET] = pc
    i64[call + w.C_PC] = w.PC_LOCKED
    push(i64, f64, _LOCK_TIMEOUT, w.ANY_CALL, call, i64[call + w.C_TOKEN])
    return False


@kernel
def scan(i64: Ints, f64: Floats, call: int) -> bool:
    """The clear-access-tokens delete reads all of token_scope."""
    member, row = i64[call + w.C_MEMBER], row_of(i64, f64, call)
    gaps = i64[row] == _LOCK_RANGE
    if gaps:
        begin_scan(i64, f64, i64[call + w.C_TX], family_of(i64, f64, call))
    if f64[row + 6] == 0.0:
        if gaps:
            i64[call + w.C_PC] = w.PC_LOCK
        else:
            i64[call + w.C_ROW] += 1
            i64[call + w.C_PC] = w.PC_STEP
        return True
    i64[call + w.C_TRIPS] = 0
    f64[call + w.C_WORK_APP] = 0.0
    f64[call + w.C_WORK_DB] = f64[row + 6] * i64[member + w.B_TOKEN_ROWS] * f64[call + w.C_DB]
    f64[call + w.C_REST] = 0.0
    i64[call + w.C_PC] = w.PC_STATEMENT_RUN
    return True
