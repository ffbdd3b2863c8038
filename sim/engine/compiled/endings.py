"""How a request leaves an identity service: answered, refused by the database, or cut off by a death."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine import service as plain_service
from sim.engine.compiled import layout as w
from sim.engine.compiled import pools
from sim.engine.compiled.cpus import cancel
from sim.engine.compiled.database import end
from sim.engine.compiled.galera import is_ready
from sim.engine.compiled.jit import Floats, Ints, kernel
from sim.engine.compiled.network import blocked
from sim.engine.compiled.requests import HEALTH, take_out
from sim.program import VPN

_SERVER_ERROR, _UNAVAILABLE = plain_service.SERVER_ERROR, plain_service.UNAVAILABLE

ROW_WORDS = 11
"""A row of the step tables: kind, trips, app, db, wait, bytes, row_cpu, rows, points, apply_factor, token."""


@kernel
def row_of(i64: Ints, f64: Floats, call: int) -> int:
    """The step that the request is at, 0 after the last."""
    kind = i64[call + w.C_KIND]
    row = i64[i64[w.STEPS_FIRST] + kind] + i64[call + w.C_ROW]
    if row >= i64[i64[w.STEPS_FIRST] + kind + 1]:
        return 0
    return i64[w.STEPS_ROWS] + row * ROW_WORDS


@kernel
def accepting(i64: Ints, f64: Floats, replica: int) -> bool:
    """Whether the service could open a connection to its database member."""
    member = i64[replica + w.R_MEMBER]
    if not i64[member + w.A_UP] or i64[member + w.A_PAUSED]:
        return False
    if i64[replica + w.R_TOGETHER]:
        return True
    here, there = i64[replica + w.A_SITE], i64[member + w.A_SITE]
    return not (blocked(i64, f64, VPN, here, there) or blocked(i64, f64, VPN, there, here))


@kernel
def refuses(i64: Ints, f64: Floats, call: int, tables: bool) -> bool:
    """Whether the member would answer a statement with an error now."""
    member = i64[call + w.C_MEMBER]
    return not i64[member + w.A_UP] or (tables and not is_ready(i64, f64, member))


@kernel
def leave(i64: Ints, f64: Floats, call: int, broken: bool) -> None:
    """Whatever the way out: statement, connection and transaction are over."""
    replica, member = i64[call + w.C_REPLICA], i64[call + w.C_MEMBER]
    take_out(i64, f64, call, w.C_MI_NEXT, member + w.A_INSIDE_HEAD)
    if i64[call + w.C_HOLDING]:
        i64[call + w.C_HOLDING] = 0
        pools.give_back(i64, f64, i64[replica + w.R_CONNECTIONS], broken)
    tx = i64[call + w.C_TX]
    if tx and i64[tx + w.T_OPEN]:
        end(i64, f64, tx)


@kernel
def go_back(i64: Ints, f64: Floats, call: int) -> bool:
    """The service is done with the request: back to who passed it on."""
    replica = i64[call + w.C_REPLICA]
    take_out(i64, f64, call, w.C_RI_NEXT, replica + w.A_INSIDE_HEAD)
    i64[call + w.C_PC] = w.PC_NGINX_DONE if i64[call + w.C_NGINX] else w.PC_EXCHANGE_DONE
    return True


@kernel
def depart(i64: Ints, f64: Floats, call: int, broken: bool) -> bool:
    """Leave with a status and give the thread back."""
    replica = i64[call + w.C_REPLICA]
    leave(i64, f64, call, broken)
    if i64[call + w.C_ORIGIN] == w.SCHEDULER:
        i64[call + w.C_PC] = w.PC_JOB_DONE
        return True
    take_out(i64, f64, call, w.C_RI_NEXT, replica + w.A_INSIDE_HEAD)
    pools.release(i64, f64, i64[replica + w.R_THREADS], w.RESUME_CALL)
    return go_back(i64, f64, call)


@kernel
def fail(i64: Ints, f64: Floats, call: int, conflict: bool) -> bool:
    """The database says no: 500 for whatever it says, 503 for a health check."""
    i64[call + w.C_STATUS] = _UNAVAILABLE if i64[call + w.C_KIND] == HEALTH else _SERVER_ERROR
    i64[call + w.C_CONFLICT] = 1 if conflict else 0
    return depart(i64, f64, call, not conflict)


@kernel
def interrupt(i64: Ints, f64: Floats, call: int, cause: int) -> bool:
    """A process died with the request inside (``cause``), or its transaction was aborted (0)."""
    i64[call + w.C_TOKEN] += 1
    i64[call + w.C_TICKET] = 0
    pc = i64[call + w.C_PC]
    replica = i64[call + w.C_REPLICA]
    if pc == w.PC_THREAD:
        if not pools.got(i64, f64, call):
            return go_back(i64, f64, call)
        pools.release(i64, f64, i64[replica + w.R_THREADS], w.RESUME_CALL)
        return go_back(i64, f64, call)
    if pc == w.PC_CONNECTION:
        if pools.got(i64, f64, call):
            pools.release(i64, f64, i64[replica + w.R_CONNECTIONS], w.ANY_CALL)
    elif pc == w.PC_CONNECTION_RETRY:
        pools.release(i64, f64, i64[replica + w.R_CONNECTIONS], w.ANY_CALL)
    elif i64[call + w.C_JOB]:
        where = i64[call + w.C_MEMBER] if pc == w.PC_STATEMENT_TRIP else replica
        cancel(i64, f64, i64[where + w.A_CPU], i64[call + w.C_JOB])
        i64[call + w.C_JOB] = 0
    elif pc == w.PC_LOCKED:
        i64[i64[call + w.C_TX] + w.T_LOCK_WAIT] = w.IDLE
    i64[call + w.C_WAIT] = w.IDLE
    if cause == replica:
        return depart(i64, f64, call, True)  # no answer: the connection is reset
    return fail(i64, f64, call, cause == 0)
