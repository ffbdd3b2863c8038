"""What a request does at an identity service: `sim.engine.service`, statement for statement."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim import steps
from sim.engine import service as plain_service
from sim.engine.compiled import claims, pools
from sim.engine.compiled import layout as w
from sim.engine.compiled.cleanup import commits, key
from sim.engine.compiled.cpus import submit
from sim.engine.compiled.database import keep, new_transaction
from sim.engine.compiled.endings import accepting, depart, fail, refuses, row_of
from sim.engine.compiled.events import push, wait_on
from sim.engine.compiled.galera import can_send, must_wait
from sim.engine.compiled.gaps import family_of, insert_token
from sim.engine.compiled.jit import Floats, Ints, kernel, twins
from sim.engine.compiled.locks import lock, locked, scan, sees
from sim.engine.compiled.network import resume_later, round_trip, transfer
from sim.engine.compiled.order import ask_causal, broadcast_payload, is_quiet
from sim.engine.compiled.replication import written
from sim.engine.compiled.requests import HEALTH, put_in, runs, take_out
from sim.program import VPN
from sim.protocols import caches, certification, evs, rowlocks

_READ, _HASH, _CHECK_REFRESH, _CHECK_ACCESS, _BEGIN = (
    steps.READ,
    steps.HASH,
    steps.CHECK_REFRESH,
    steps.CHECK_ACCESS,
    steps.BEGIN,
)
_WORK, _LOCK_INSERT, _LOCK_RANGE, _COMMIT = steps.WORK, steps.LOCK_INSERT, steps.LOCK_RANGE, steps.COMMIT
_LOCK_OLDEST, _LOCK_ROW = steps.LOCK_OLDEST, steps.LOCK_ROW
_SCAN_ROWS = steps.SCAN_ROWS
_HELD, _NEW = steps.HELD, steps.NEW
_INSERT, _RANGE = rowlocks.INSERT, rowlocks.RANGE
_REPLICATING = certification.REPLICATING
_RETRY_PERIOD = evs.RETRY_PERIOD
_STATEMENT = plain_service.STATEMENT_BYTES
_STALE = plain_service.STALE

_refill = twins(caches, ("refill",))["refill"]
_INTROSPECT, _REVOKE = (steps.KINDS.index(kind) for kind in plain_service.SILENT)


@kernel
def ran(f64: Floats, place: int, at: float) -> None:
    """A process runs until ``at`` at least."""
    f64[place] = max(f64[place], at)


@kernel
def start_job(
    i64: Ints, f64: Floats, call: int, where: int, demand: float, owner: int, owner2: int, pc: int
) -> bool:
    """CPU for the statements, then on at ``pc``."""
    i64[call + w.C_PC] = pc
    i64[call + w.C_JOB] = submit(
        i64, f64, i64[where + w.A_CPU], demand, owner, owner2, w.JOB_CALL, call, i64[call + w.C_TOKEN]
    )
    return False


@kernel
def work(i64: Ints, f64: Floats, call: int, replica: int, demand: float, others: int, pc: int) -> bool:
    """CPU of the service alone, while ``others`` take turns with it, then on at ``pc``."""
    now = f64[w.NOW]
    demand += _refill(now - f64[replica + w.R_RAN], others, demand, f64[w.REFILL_APP])
    ran(f64, replica + w.R_RAN, now + demand)
    return start_job(i64, f64, call, replica, demand, replica, 0, pc)


@kernel
def connection(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """A database connection from the pool; whether the request can go on at once."""
    replica = i64[call + w.C_REPLICA]
    pool = i64[replica + w.R_CONNECTIONS]
    now = f64[w.NOW]
    if pc == w.PC_CONNECT_DATABASE:
        f64[call + w.C_ACQUIRED_AT] = now
        if not pools.acquire(i64, f64, pool, call):
            i64[call + w.C_PC] = w.PC_CONNECTION
            push(i64, f64, f64[pool + w.O_TIMEOUT], w.ANY_CALL, call, i64[call + w.C_TOKEN])
            return False
    elif pc == w.PC_CONNECTION and not pools.got(i64, f64, call):
        return fail(i64, f64, call, False)
    if pc != w.PC_CONNECTION_RETRY and pools.take_idle(i64, f64, pool, accepting(i64, f64, replica)):
        i64[call + w.C_PC] = w.PC_CONNECTED
        return True
    hanging = i64[i64[replica + w.R_MEMBER] + w.A_UP] != 0
    if pools.opened(i64, f64, pool, accepting(i64, f64, replica), hanging):
        i64[call + w.C_PC] = w.PC_CONNECTED
        return True
    left = f64[call + w.C_ACQUIRED_AT] + f64[pool + w.O_TIMEOUT] - now
    if left <= 0:
        pools.release(i64, f64, pool, w.ANY_CALL)
        return fail(i64, f64, call, False)
    return resume_later(i64, f64, call, min(f64[pool + w.O_NEXT] - now, left), w.PC_CONNECTION_RETRY)


@kernel
def causal(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """A causal point for `wsrep_sync_wait`; whether the request can go on at once."""
    member = i64[call + w.C_MEMBER]
    if pc == w.PC_CAUSAL:
        if not can_send(i64, f64, member):
            if refuses(i64, f64, call, True):
                return fail(i64, f64, call, False)
            wait_on(i64, f64, member + w.B_CHANGED_HEAD, w.RESUME_CALL, call, i64[call + w.C_TOKEN])
            return False
        if refuses(i64, f64, call, True):
            return fail(i64, f64, call, False)
        i64[w.NUMBER] += 1
        i64[call + w.C_TICKET] = call << 24 | (i64[w.NUMBER] & 0xFFFFFF)
        i64[call + w.C_WAIT] = w.ASKING
        i64[call + w.C_PC] = w.PC_CAUSAL_ASKED
        if not is_quiet(i64, f64, member):
            i64[w.UP] = w.UP_CAUSAL
            i64[w.UP_A] = call
            i64[w.UP_B] = member
            return False
        ask_causal(i64, f64, member, i64[call + w.C_TICKET])
        return True
    if pc == w.PC_CAUSAL_ASKED:
        if i64[call + w.C_WAIT] != w.GRANTED:
            i64[call + w.C_WAIT] = w.WAITING
            return False
        i64[call + w.C_WAIT] = w.IDLE
        i64[call + w.C_TICKET] = 0
        i64[call + w.C_REACHED] = i64[member + w.B_RECEIVED]
    if i64[member + w.B_VISIBLE] < i64[call + w.C_REACHED]:
        if refuses(i64, f64, call, True):
            return fail(i64, f64, call, False)
        return resume_later(i64, f64, call, 0.0005, w.PC_CAUSAL_BEHIND)
    kind = i64[row_of(i64, f64, call)]
    i64[call + w.C_PC] = w.PC_STATEMENT_BEGIN if kind in (_READ, _WORK) else w.PC_CHECK
    return True


@kernel
def statement(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """Statements one after the other; whether the request can go on at once."""
    replica, member = i64[call + w.C_REPLICA], i64[call + w.C_MEMBER]
    row = row_of(i64, f64, call)
    waits = i64[i64[member + w.B_DATABASE] + w.E_SYNC_WAIT]
    points = i64[row + 8]
    # with `wsrep_sync_wait` each transaction and autocommitted SELECT may wait
    parts = max(1, points) if waits else 1
    if pc == w.PC_STATEMENT:
        i64[call + w.C_PC] = w.PC_CAUSAL if waits & 1 and points else w.PC_STATEMENT_BEGIN
        return True
    if pc == w.PC_STATEMENT_BEGIN:
        part = i64[call + w.C_PART]
        some = i64[row + 1] * (part + 1) // parts - i64[row + 1] * part // parts
        i64[call + w.C_TRIPS] = some
        f64[call + w.C_WORK_APP] = f64[row + 2] / parts * f64[call + w.C_APP]
        f64[call + w.C_WORK_DB] = f64[row + 3] / parts * f64[call + w.C_DB]
        f64[call + w.C_REST] = some * f64[replica + w.R_RTT] + f64[row + 4] / parts
        pc = w.PC_STATEMENT_RUN
    trips = i64[call + w.C_TRIPS]
    if pc == w.PC_STATEMENT_RUN:
        if refuses(i64, f64, call, i64[call + w.C_KIND] != HEALTH):
            return fail(i64, f64, call, False)
        put_in(i64, f64, call, w.C_MI_NEXT, member + w.A_INSIDE_HEAD)
        app, db = f64[call + w.C_WORK_APP], f64[call + w.C_WORK_DB]
        if i64[replica + w.R_TOGETHER]:
            # service and database take turns on one CPU: one job for both
            now, others = f64[w.NOW], i64[i64[replica + w.A_CPU] + w.Q_COUNT]
            app += _refill(now - f64[replica + w.R_RAN], others, app, f64[w.REFILL_APP])
            db += _refill(now - f64[member + w.B_RAN], others, db, f64[w.REFILL_DB])
            ran(f64, replica + w.R_RAN, now + (app + db))
            ran(f64, member + w.B_RAN, now + (app + db))
            return start_job(i64, f64, call, replica, app + db, replica, member, w.PC_STATEMENT_REST)
        others = i64[i64[replica + w.A_CPU] + w.Q_COUNT]
        return work(i64, f64, call, replica, app, others, w.PC_STATEMENT_DATABASE)
    if pc == w.PC_STATEMENT_DATABASE:
        now = f64[w.NOW]
        ran(f64, replica + w.R_RAN, now)
        db = f64[call + w.C_WORK_DB]
        others = i64[i64[member + w.A_CPU] + w.Q_COUNT]
        db += _refill(now - f64[member + w.B_RAN], others, db, f64[w.REFILL_DB])
        ran(f64, member + w.B_RAN, now + db)
        return start_job(i64, f64, call, member, db, member, 0, w.PC_STATEMENT_TRIP)
    here, there = i64[replica + w.A_SITE], i64[member + w.A_SITE]
    if pc == w.PC_STATEMENT_TRIP:
        i64[call + w.C_JOB] = 0
        ran(f64, member + w.B_RAN, f64[w.NOW])
        if not trips:
            i64[call + w.C_PC] = w.PC_STATEMENT_REST
            return True
        return transfer(i64, f64, call, VPN, here, there, _STATEMENT, w.PC_STATEMENT_BACK)
    if pc == w.PC_STATEMENT_BACK:
        return transfer(i64, f64, call, VPN, there, here, _STATEMENT, w.PC_STATEMENT_TRIPPED)
    if pc == w.PC_STATEMENT_TRIPPED:
        f64[call + w.C_REST] += (trips - 1) * round_trip(i64, f64, VPN, here, there)
        i64[call + w.C_PC] = w.PC_STATEMENT_REST
        return True
    if pc == w.PC_STATEMENT_REST:
        i64[call + w.C_JOB] = 0
        if i64[replica + w.R_TOGETHER]:
            ran(f64, replica + w.R_RAN, f64[w.NOW])
            ran(f64, member + w.B_RAN, f64[w.NOW])
        if f64[call + w.C_REST] > 0:
            return resume_later(i64, f64, call, f64[call + w.C_REST], w.PC_STATEMENT_PAUSED)
        pc = w.PC_STATEMENT_PAUSED
        i64[call + w.C_PC] = pc
    if pc == w.PC_STATEMENT_PAUSED:
        if not runs(i64, f64, call, replica):
            return False
        i64[call + w.C_PC] = w.PC_STATEMENT_END
    # PC_STATEMENT_END
    if not runs(i64, f64, call, member):
        return False
    take_out(i64, f64, call, w.C_MI_NEXT, member + w.A_INSIDE_HEAD)
    if refuses(i64, f64, call, i64[call + w.C_KIND] != HEALTH):
        return fail(i64, f64, call, False)
    kind = i64[row]
    if kind == _LOCK_RANGE:
        i64[call + w.C_PC] = w.PC_LOCK  # the scan is at the end of the index
        return True
    i64[call + w.C_PART] += 1
    if i64[call + w.C_PART] < parts:
        i64[call + w.C_PC] = w.PC_STATEMENT
        return True
    i64[call + w.C_PART] = 0
    if kind == _READ:
        i64[call + w.C_HOLDING] = 0
        pools.give_back(i64, f64, i64[replica + w.R_CONNECTIONS], False)
    i64[call + w.C_ROW] += 1
    i64[call + w.C_PC] = w.PC_STEP
    return True


@kernel
def step(i64: Ints, f64: Floats, call: int) -> bool:
    """Begin the step that the request is at."""
    row = row_of(i64, f64, call)
    replica, member = i64[call + w.C_REPLICA], i64[call + w.C_MEMBER]
    if not row:
        i64[call + w.C_STATUS] = 200
        return depart(i64, f64, call, False)
    kind = i64[row]
    if kind == _READ:
        i64[call + w.C_PC] = w.PC_STATEMENT if i64[call + w.C_HOLDING] else w.PC_CONNECT_DATABASE
    elif kind == _HASH:
        # between two autocommitted reads: the pool has the connection back
        # its working set is small: others do not matter
        return work(i64, f64, call, replica, f64[row + 2] * f64[call + w.C_APP], 0, w.PC_HASHED)
    elif kind == _WORK:
        i64[call + w.C_PC] = w.PC_STATEMENT
    elif kind == _BEGIN:
        i64[call + w.C_PC] = w.PC_CONNECT_DATABASE
    elif kind in (_CHECK_REFRESH, _CHECK_ACCESS):
        waits = i64[i64[member + w.B_DATABASE] + w.E_SYNC_WAIT] & 1
        i64[call + w.C_PC] = w.PC_CAUSAL if waits else w.PC_CHECK
    elif kind == _LOCK_INSERT:
        family = family_of(i64, f64, call) if i64[row + 10] == _HELD else 0
        insert_token(i64, f64, i64[call + w.C_TX], family, i64[row + 10] == _NEW)
        i64[call + w.C_PC] = w.PC_LOCK
    elif kind in (_LOCK_RANGE, _SCAN_ROWS):
        # the scan locks row by row: other scans wait at the first row, inserts only meet it at the end
        return lock(i64, f64, call, w.B_FIRST_HEAD, _RANGE, w.PC_SCAN)
    elif kind == _LOCK_OLDEST:
        i64[call + w.C_ROW] += 1
        i64[i64[call + w.C_TX] + w.T_RESOURCE] = w.FIRST_ROWS
        return lock(i64, f64, call, w.B_FIRST_HEAD, _INSERT, w.PC_STEP)
    elif kind == _LOCK_ROW:
        i64[call + w.C_ROW] += 1
        row = key(i64[call + w.C_CLEANS], i64[call + w.C_DELETES])
        return locked(i64, f64, call, claims.claim(i64, f64, member, i64[call + w.C_TX], row), w.PC_STEP)
    else:
        tx = i64[call + w.C_TX]
        i64[tx + w.T_ROWS] = i64[row + 7]
        f64[tx + w.T_APPLY] = f64[row + 9]
        i64[tx + w.T_EMPTY] = 0 if commits(i64, f64, call, tx) else 1
        if i64[replica + w.R_TOGETHER]:
            i64[call + w.C_PC] = w.PC_COMMIT
            return True
        return transfer(
            i64, f64, call, VPN, i64[replica + w.A_SITE], i64[member + w.A_SITE], _STATEMENT, w.PC_COMMIT_TRIP
        )
    return True


@kernel
def commit(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """Replicate and commit; whether the request can go on at once."""
    replica, member = i64[call + w.C_REPLICA], i64[call + w.C_MEMBER]
    tx = i64[call + w.C_TX]
    if pc == w.PC_COMMIT_TRIP:
        return transfer(
            i64, f64, call, VPN, i64[member + w.A_SITE], i64[replica + w.A_SITE], _STATEMENT, w.PC_COMMIT
        )
    if i64[tx + w.T_EMPTY]:
        i64[call + w.C_ROW] += 1
        i64[call + w.C_PC] = w.PC_STEP
        return True
    size = i64[row_of(i64, f64, call) + 5]
    if not i64[i64[member + w.B_DATABASE] + w.E_GALERA]:
        if pc == w.PC_COMMIT and refuses(i64, f64, call, True):
            return fail(i64, f64, call, False)
        if written(i64, f64, call, pc, size):
            if not i64[member + w.A_UP]:
                return fail(i64, f64, call, False)
            i64[call + w.C_ROW] += 1
            i64[call + w.C_PC] = w.PC_STEP
            return True
        return False
    if pc == w.PC_COMMIT:
        if must_wait(i64, f64, member):
            if refuses(i64, f64, call, True):
                return fail(i64, f64, call, False)
            wait_on(i64, f64, member + w.B_CHANGED_HEAD, w.RESUME_CALL, call, i64[call + w.C_TOKEN])
            return False
        if refuses(i64, f64, call, True):
            return fail(i64, f64, call, False)
        i64[tx + w.T_STATE] = _REPLICATING
        i64[tx + w.T_LAST_SEEN] = i64[member + w.B_VISIBLE]
        i64[tx + w.T_SIZE] = size
        i64[tx + w.T_ANSWER] = w.WAITING
        keep(i64, f64, tx)  # for the history
        i64[call + w.C_PC] = w.PC_SUBMIT
        return True
    if pc == w.PC_SUBMIT_AGAIN:
        if refuses(i64, f64, call, True):
            return fail(i64, f64, call, False)
        i64[call + w.C_PC] = w.PC_SUBMIT
        return True
    if pc == w.PC_SUBMIT:
        if not is_quiet(i64, f64, member):
            i64[w.UP] = w.UP_SUBMIT
            i64[w.UP_A] = call
            i64[w.UP_B] = member
            i64[w.UP_C] = size
            i64[call + w.C_PC] = w.PC_SUBMITTED
            return False
        i64[call + w.C_GOT] = 1 if broadcast_payload(i64, f64, member, 2 * tx, size) else 0
        pc = w.PC_SUBMITTED
    if pc == w.PC_SUBMITTED:
        if not i64[call + w.C_GOT]:
            return resume_later(i64, f64, call, _RETRY_PERIOD, w.PC_SUBMIT_AGAIN)
        i64[call + w.C_PC] = w.PC_ANSWER
        return False
    # PC_ANSWER
    value = i64[tx + w.T_VALUE]
    if value != 1:
        return fail(i64, f64, call, value == 0)
    i64[call + w.C_ROW] += 1
    i64[call + w.C_PC] = w.PC_STEP
    return True


@kernel
def serve(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """One identity service process; whether the request can go on at once."""
    replica = i64[call + w.C_REPLICA]
    if pc == w.PC_STEP:
        return step(i64, f64, call)
    if pc >= w.PC_COMMIT:
        return commit(i64, f64, call, pc)
    if pc >= w.PC_STATEMENT:
        return statement(i64, f64, call, pc)
    if pc >= w.PC_CAUSAL:
        return causal(i64, f64, call, pc)
    if pc >= w.PC_CONNECT_DATABASE:
        return connection(i64, f64, call, pc)
    if pc == w.PC_SERVICE:
        put_in(i64, f64, call, w.C_RI_NEXT, replica + w.A_INSIDE_HEAD)
        i64[call + w.C_MEMBER] = i64[replica + w.R_MEMBER]
        i64[call + w.C_ROW] = 0
        i64[call + w.C_PART] = 0
        i64[call + w.C_HOLDING] = 0
        i64[call + w.C_PC] = w.PC_STEP
        if pools.acquire(i64, f64, i64[replica + w.R_THREADS], call):
            return True
        i64[call + w.C_PC] = w.PC_THREAD
        return False
    if pc == w.PC_THREAD:
        i64[call + w.C_WAIT] = w.IDLE
        i64[call + w.C_PC] = w.PC_STEP
        return True
    if pc == w.PC_CONNECTED:
        if refuses(i64, f64, call, i64[call + w.C_KIND] != HEALTH):
            pools.give_back(i64, f64, i64[replica + w.R_CONNECTIONS], True)
            return fail(i64, f64, call, False)
        i64[call + w.C_HOLDING] = 1
        if i64[row_of(i64, f64, call)] == _READ:
            i64[call + w.C_PC] = w.PC_STATEMENT
            return True
        tx = new_transaction(i64, f64, i64[call + w.C_MEMBER], call)
        i64[call + w.C_TX] = tx
        if i64[call + w.C_CLEANS]:
            i64[tx + w.T_CLEANS] = i64[call + w.C_CLEANS]
            i64[tx + w.T_DELETES] = i64[call + w.C_DELETES]
            i64[tx + w.T_RESOURCE] = w.NO_ROWS
        i64[call + w.C_ROW] += 1
        i64[call + w.C_PC] = w.PC_STEP
        return True
    if pc == w.PC_CHECK:
        kind = i64[row_of(i64, f64, call)]
        wanted = i64[call + w.C_REFRESH] if kind == _CHECK_REFRESH else i64[call + w.C_ACCESS]
        if wanted and not sees(i64, f64, i64[call + w.C_MEMBER], wanted):
            # unknown tokens are inactive, and revoked already: no error
            silent = i64[call + w.C_KIND] == _INTROSPECT or i64[call + w.C_KIND] == _REVOKE
            i64[call + w.C_STALE] = 1 if silent else 0
            i64[call + w.C_STATUS] = 200 if silent else _STALE
            return depart(i64, f64, call, False)
        i64[call + w.C_ROW] += 1
        i64[call + w.C_PC] = w.PC_STEP
        return True
    if pc == w.PC_HASHED:
        i64[call + w.C_JOB] = 0
        ran(f64, replica + w.R_RAN, f64[w.NOW])
        i64[call + w.C_ROW] += 1
        i64[call + w.C_PC] = w.PC_STEP
        return True
    if pc == w.PC_SCAN:
        return scan(i64, f64, call)
    if pc == w.PC_LOCK:
        i64[i64[call + w.C_TX] + w.T_RESOURCE] = w.ALL_ROWS
        if i64[row_of(i64, f64, call)] == _LOCK_RANGE:
            i64[i64[call + w.C_MEMBER] + w.B_WAITS] = 1
            return lock(i64, f64, call, w.B_LOCKS_HEAD, _RANGE, w.PC_SCANNED)
        i64[call + w.C_ROW] += 1
        return lock(i64, f64, call, w.B_LOCKS_HEAD, _INSERT, w.PC_STEP)
    if pc == w.PC_SCANNED:
        i64[i64[call + w.C_MEMBER] + w.B_SCANNER] = 0
        i64[call + w.C_ROW] += 1
        i64[call + w.C_PC] = w.PC_STEP
        return True
    # PC_LOCKED
    tx = i64[call + w.C_TX]
    granted = i64[tx + w.T_LOCK_WAIT] == w.GRANTED
    i64[tx + w.T_LOCK_WAIT] = w.IDLE
    if not granted:
        return fail(i64, f64, call, True)
    i64[call + w.C_PC] = i64[call + w.C_RET]
    return True
