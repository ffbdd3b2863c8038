"""Who asks: users, probes, health checks: `sim.engine.users` and `sim.engine.health`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.database import keep, release_transaction
from sim.engine.compiled.draws import exponential, following, uniform
from sim.engine.compiled.events import log, push, wait_on
from sim.engine.compiled.frontends import check_result
from sim.engine.compiled.jit import Floats, Ints, kernel
from sim.engine.compiled.requests import HEALTH, finish, new_call, release_call, remember, set_off


@kernel
def record(
    i64: Ints, f64: Floats, call: int, start: float, source: int, site: int, flow: int, front: int
) -> None:
    """Note a finished request."""
    i64[w.ROW_COUNT] += 1
    if not i64[w.KEEP_ROWS]:
        return
    row = i64[w.ROWS] + i64[w.ROWS_LEN] * w.ROW_WORDS
    i64[w.ROWS_LEN] += 1
    f64[row + w.ROW_START] = start
    f64[row + w.ROW_LATENCY] = f64[w.NOW] - start
    i64[row + w.ROW_SOURCE] = source
    i64[row + w.ROW_SITE] = site
    i64[row + w.ROW_KIND] = i64[call + w.C_KIND]
    i64[row + w.ROW_STATUS] = i64[call + w.C_STATUS]
    i64[row + w.ROW_OUTCOME] = i64[call + w.C_OUTCOME]
    i64[row + w.ROW_FRONT_END] = i64[front + w.A_SITE]
    i64[row + w.ROW_FLOW] = flow


@kernel
def dns_answer(i64: Ints, f64: Floats) -> int:
    """The front ends in an answer now, as a mask: those that are up, all when too few are."""
    count = i64[w.FRONT_END_COUNT]
    everybody = (1 << count) - 1
    if not i64[w.MONITORS]:
        return everybody
    found = 0
    up = 0
    for index in range(count):
        if i64[i64[w.MONITORS] + index * w.M_WORDS + w.M_UP]:
            found |= 1 << index
            up += 1
    return found if up >= i64[w.MONITOR_LIMIT] else everybody


@kernel
def resolve(i64: Ints, f64: Floats, cache: int, stream: int, index: int) -> int:
    """Number of a front end, at random among the addresses that the client believes in."""
    now = f64[w.NOW]
    addresses = i64[cache + w.D_ADDRESSES] if now < f64[cache + w.D_EXPIRES] else 0
    if not addresses:
        addresses = dns_answer(i64, f64)
        i64[cache + w.D_ADDRESSES] = addresses
        f64[cache + w.D_EXPIRES] = now + f64[cache + w.D_KEEP]
    count = 0
    rest = addresses
    while rest:
        count += rest & 1
        rest >>= 1
    skip = int(uniform(i64, f64, stream, index) * count)
    number = 0
    while True:
        if addresses >> number & 1:
            if not skip:
                return number
            skip -= 1
        number += 1


@kernel
def ask(
    i64: Ints, f64: Floats, kind: int, stream: int, index: int, timeout: float, site: int, number: int
) -> int:
    """A request to a front end, given up after ``timeout`` seconds."""
    call = new_call(i64, f64, kind, stream, index, timeout)
    push(i64, f64, timeout, w.FINISH_CALL, call, i64[call + w.C_GENERATION] * 1024)
    i64[call + w.C_SITE] = site
    i64[call + w.C_FRONT_END] = i64[i64[w.FRONT_ENDS] + number]
    f64[call + w.C_START] = f64[w.NOW]
    return call


# -- users -----------------------------------------------------------------------------------

U_BEGIN, U_THINK, U_WAIT = range(3)


@kernel
def next_request(i64: Ints, f64: Floats, user: int) -> None:
    """The user asks for the next step of its flow."""
    stream = i64[user + w.U_DEMAND]
    index = following(i64, f64, stream)
    following(i64, f64, stream)
    kind = i64[i64[w.FLOW_STEPS] + 1 + i64[user + w.U_STEP]]
    number = i64[user + w.U_FRONT_END]
    call = ask(i64, f64, kind, stream, index, f64[w.TIMEOUT], i64[user + w.U_SITE], number)
    i64[call + w.C_ORIGIN] = w.USER
    i64[call + w.C_WAITER] = w.USER
    i64[call + w.C_WHO] = user
    remember(i64, f64, call, i64[user + w.U_ACCESS], i64[user + w.U_REFRESH])
    i64[call + w.C_FRESH] = 0 if i64[user + w.U_CONNECTED] >> number & 1 else 1
    i64[user + w.U_CALL] = call
    i64[user + w.U_PC] = U_WAIT
    set_off(i64, f64, call, w.PC_TRAVEL)


@kernel
def begin_iteration(i64: Ints, f64: Floats, user: int) -> None:
    """The flow from its start, unless the load is over."""
    if not f64[w.NOW] < f64[w.DURATION]:
        return
    choice = i64[user + w.U_CHOICE]
    i64[user + w.U_FRONT_END] = resolve(i64, f64, user, choice, following(i64, f64, choice))
    release_transaction(i64, f64, i64[user + w.U_ACCESS])
    release_transaction(i64, f64, i64[user + w.U_REFRESH])
    i64[user + w.U_ACCESS] = 0
    i64[user + w.U_REFRESH] = 0
    i64[user + w.U_STEP] = 0
    next_request(i64, f64, user)


@kernel
def user_step(i64: Ints, f64: Floats, user: int) -> None:
    """A user's pause is over."""
    if i64[user + w.U_PC] == U_BEGIN:
        i64[user + w.U_PC] = U_THINK
        push(i64, f64, f64[user + w.U_DELAY], w.RESUME_USER, user, 0)
    else:
        begin_iteration(i64, f64, user)


@kernel
def user_answered(i64: Ints, f64: Floats, user: int, call: int) -> None:
    """A user has its answer, or knows that none will come."""
    number = i64[user + w.U_FRONT_END]
    front = i64[call + w.C_FRONT_END]
    record(i64, f64, call, f64[call + w.C_START], 0, i64[user + w.U_SITE], i64[w.FLOW], front)
    if i64[call + w.C_STATUS]:
        i64[user + w.U_CONNECTED] |= 1 << number
    else:
        i64[user + w.U_CONNECTED] &= ~(1 << number)
    good = i64[call + w.C_OUTCOME] == w.OK
    if good:
        tx = i64[call + w.C_TX]
        if tx:
            release_transaction(i64, f64, i64[user + w.U_ACCESS])
            i64[user + w.U_ACCESS] = keep(i64, f64, tx)
            if i64[tx + w.T_FRESH]:
                release_transaction(i64, f64, i64[user + w.U_REFRESH])
                i64[user + w.U_REFRESH] = keep(i64, f64, tx)
        i64[user + w.U_STEP] += 1
        if i64[user + w.U_STEP] < i64[i64[w.FLOW_STEPS]]:
            next_request(i64, f64, user)
            return
    i64[user + w.U_PC] = U_THINK
    if f64[w.THINK] != 0.0:
        think = i64[user + w.U_THINK]
        pause = f64[w.THINK] * exponential(i64, f64, think, following(i64, f64, think))
        push(i64, f64, pause, w.RESUME_USER, user, 0)
    elif not good:
        push(i64, f64, 0.001, w.RESUME_USER, user, 0)  # a refused connection takes the client some time too
    else:
        begin_iteration(i64, f64, user)


# -- probes ----------------------------------------------------------------------------------


@kernel
def probe_step(i64: Ints, f64: Floats, probe: int) -> None:
    """A probe is sent when it is due; then the next one is waited for."""
    number = i64[probe + w.P_NUMBER]
    if i64[probe + w.P_PC]:
        front = resolve(i64, f64, i64[probe + w.P_CACHE], i64[probe + w.P_CHOICE], number)
        kind, site = i64[probe + w.P_KIND], i64[probe + w.P_SITE]
        call = ask(i64, f64, kind, i64[probe + w.P_DEMAND], 2 * number, f64[probe + w.P_TIMEOUT], site, front)
        i64[call + w.C_ORIGIN] = w.PROBE
        i64[call + w.C_WAITER] = w.PROBE
        i64[call + w.C_WHO] = probe
        set_off(i64, f64, call, w.PC_TRAVEL)
        number += 1
        i64[probe + w.P_NUMBER] = number
    i64[probe + w.P_PC] = 1
    due = f64[probe + w.P_PHASE] + number * f64[probe + w.P_PERIOD]
    if due < f64[w.DURATION]:
        push(i64, f64, max(0.0, due - f64[w.NOW]), w.RESUME_PROBE, probe, 0)


# -- health checks -----------------------------------------------------------------------------

K_BEGIN, K_LOOP, K_ASKED = range(3)


@kernel
def health_call(i64: Ints, f64: Floats, check: int, front: int, pc: int, origin: int) -> int:
    """A GET of the health page on behalf of a check."""
    stream = i64[check + w.K_STREAM]
    index = following(i64, f64, stream)
    following(i64, f64, stream)
    call = new_call(i64, f64, HEALTH, stream, index, f64[check + w.K_TIMEOUT])
    i64[call + w.C_REFERENCES] = 3  # the check looks at it too
    i64[call + w.C_FRONT_END] = front
    i64[call + w.C_ORIGIN] = origin
    i64[call + w.C_WAITER] = origin
    i64[call + w.C_WHO] = check
    i64[call + w.C_WTOKEN] = i64[check + w.K_TOKEN]
    i64[check + w.K_CALL] = call
    i64[check + w.K_PC] = K_ASKED
    set_off(i64, f64, call, pc)
    return call


@kernel
def check_step(i64: Ints, f64: Floats, check: int) -> None:
    """A front end's check of one server goes on."""
    pc = i64[check + w.K_PC]
    front, server = i64[check + w.K_FRONT_END], i64[check + w.K_SERVER]
    if pc == K_BEGIN:
        stream = i64[check + w.K_STREAM]
        i64[check + w.K_PC] = K_LOOP
        pause = f64[front + w.X_INTER] * uniform(i64, f64, stream, following(i64, f64, stream))
        push(i64, f64, pause, w.RESUME_CHECK, check, i64[check + w.K_TOKEN])
        return
    if pc == K_LOOP:
        if i64[front + w.A_PAUSED]:
            wait_on(i64, f64, front + w.A_RESUMED_HEAD, w.RESUME_CHECK, check, i64[check + w.K_TOKEN])
            return
        if i64[front + w.A_UP]:
            call = health_call(i64, f64, check, front, w.PC_ASK, w.CHECK)
            i64[call + w.C_TARGET] = i64[i64[front + w.X_SERVERS] + server]
            f64[call + w.C_LIMIT] = f64[check + w.K_TIMEOUT]
            push(i64, f64, f64[check + w.K_TIMEOUT], w.ANY_CHECK, check, i64[check + w.K_TOKEN])
            return
    else:
        call = i64[check + w.K_CALL]
        ok = i64[call + w.C_OUTCOME] == w.OK
        finish(i64, f64, call, 0, w.TIMED_OUT)
        release_call(i64, f64, call)
        change = check_result(i64, f64, front, server, ok)
        if change:
            log(
                i64,
                f64,
                i64[front + w.A_COMPONENT],
                w.LOG_SERVER_UP if change > 0 else w.LOG_SERVER_DOWN,
                i64[i64[i64[front + w.X_SERVERS] + server] + w.A_COMPONENT],
            )
    i64[check + w.K_PC] = K_LOOP
    push(i64, f64, f64[front + w.X_INTER], w.RESUME_CHECK, check, i64[check + w.K_TOKEN])


@kernel
def monitor_result(i64: Ints, f64: Floats, monitor: int, ok: bool) -> int:
    """`sim.protocols.dns.check_result`: 1 when the address came up, -1 when it went down."""
    if not ok:
        i64[monitor + w.M_SUCCESSES] = 0
        if i64[monitor + w.M_UP]:
            i64[monitor + w.M_FAILURES] += 1
            if i64[monitor + w.M_FAILURES] >= i64[monitor + w.M_DOWN_AFTER]:
                i64[monitor + w.M_UP] = 0
                i64[monitor + w.M_FAILURES] = 0
                return -1
        return 0
    if i64[monitor + w.M_UP]:
        if i64[monitor + w.M_FAILURES]:
            i64[monitor + w.M_SUCCESSES] += 1
            if i64[monitor + w.M_SUCCESSES] >= i64[monitor + w.M_OK_AFTER]:
                i64[monitor + w.M_FAILURES] = 0
                i64[monitor + w.M_SUCCESSES] = 0
        return 0
    i64[monitor + w.M_SUCCESSES] += 1
    if i64[monitor + w.M_SUCCESSES] >= i64[monitor + w.M_UP_AFTER]:
        i64[monitor + w.M_UP] = 1
        i64[monitor + w.M_FAILURES] = 0
        i64[monitor + w.M_SUCCESSES] = 0
        return 1
    return 0


@kernel
def dns_step(i64: Ints, f64: Floats, check: int) -> None:
    """The DNS balancer's check of one front end goes on."""
    pc = i64[check + w.K_PC]
    front, monitor = i64[check + w.K_FRONT_END], i64[check + w.K_MONITOR]
    if pc == K_BEGIN:
        stream = i64[check + w.K_STREAM]
        i64[check + w.K_PC] = K_LOOP
        pause = f64[monitor + w.M_INTERVAL] * uniform(i64, f64, stream, following(i64, f64, stream))
        push(i64, f64, pause, w.RESUME_DNS, check, i64[check + w.K_TOKEN])
        return
    if pc == K_LOOP:
        f64[check + w.K_DUE] = f64[w.NOW] + f64[monitor + w.M_INTERVAL]
        health_call(i64, f64, check, front, w.PC_ASK_FRONT, w.DNS)
        push(i64, f64, f64[check + w.K_TIMEOUT], w.ANY_DNS, check, i64[check + w.K_TOKEN])
        return
    call = i64[check + w.K_CALL]
    change = monitor_result(i64, f64, monitor, i64[call + w.C_OUTCOME] == w.OK)
    finish(i64, f64, call, 0, w.TIMED_OUT)
    release_call(i64, f64, call)
    if change:
        log(i64, f64, i64[check + w.K_ID], w.LOG_DNS_UP if change > 0 else w.LOG_DNS_DOWN, 0)
    i64[check + w.K_PC] = K_LOOP
    push(i64, f64, max(0.0, f64[check + w.K_DUE] - f64[w.NOW]), w.RESUME_DNS, check, i64[check + w.K_TOKEN])
