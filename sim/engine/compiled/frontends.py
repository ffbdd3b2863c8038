"""The way of a request to an identity service and back: `sim.engine.frontends` and the travel of `users`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine import frontends as plain
from sim.engine.compiled import layout as w
from sim.engine.compiled.cpus import submit
from sim.engine.compiled.draws import cost
from sim.engine.compiled.jit import Floats, Ints, inlined, kernel, twins
from sim.engine.compiled.network import connect, resume_later, transfer
from sim.engine.compiled.requests import HEALTH, finish, limit, put_in, release_call, runs, take_out
from sim.program import PUBLIC, VPN
from sim.protocols import haproxy, nginx
from sim.protocols.haproxy import Check, Proxy, Retries
from sim.protocols.nginx import Group

_made = twins(
    haproxy,
    ("is_up", "_catch_up", "enter_result", "is_usable", "count_active", "_before", "choose", "retry"),
)
enter_result = _made["enter_result"]
count_active = _made["count_active"]
choose_server = _made["choose"]
is_up = _made["is_up"]
retry = _made["retry"]
_made = twins(nginx, ("is_benched", "choose", "failed", "succeeded", "may_retry", "status_of"))
choose_peer = _made["choose"]
failed = _made["failed"]
succeeded = _made["succeeded"]
may_retry = _made["may_retry"]
nginx_status = _made["status_of"]

_REQUEST, _RESPONSE = plain.REQUEST_BYTES, plain.RESPONSE_BYTES
_IDLE = plain.IDLE_SERVER_CONNECTION
_UNAVAILABLE, _BAD_GATEWAY, _TIMEOUT = haproxy.UNAVAILABLE, haproxy.BAD_GATEWAY, haproxy.GATEWAY_TIMEOUT


@inlined
def proxy_of(i64: Any, f64: Any, front: int) -> Proxy:
    """A front end's servers as the protocol sees them."""
    n = i64[front + w.X_COUNT]
    return Proxy(
        Check(f64[front + w.X_INTER], i64[front + w.X_FALL], i64[front + w.X_RISE], None, None, None),
        i64[front + w.X_LEASTCONN],
        1,
        i64[i64[front + w.X_BACKUP] : i64[front + w.X_BACKUP] + n],
        i64[i64[front + w.X_WEIGHT] : i64[front + w.X_WEIGHT] + n],
        i64[i64[front + w.X_HEALTH] : i64[front + w.X_HEALTH] + n],
        f64[i64[front + w.X_TURN] : i64[front + w.X_TURN] + n],
        i64[i64[front + w.X_SESSIONS] : i64[front + w.X_SESSIONS] + n],
    )


@inlined
def group_of(i64: Any, f64: Any, proxy: int) -> Group:
    """An nginx's upstream group as the protocol sees it."""
    n = i64[proxy + w.G_COUNT]
    return Group(
        i64[proxy + w.G_MAX_FAILS],
        f64[proxy + w.G_FAIL_TIMEOUT],
        i64[i64[proxy + w.G_WEIGHT] : i64[proxy + w.G_WEIGHT] + n],
        i64[i64[proxy + w.G_EFFECTIVE] : i64[proxy + w.G_EFFECTIVE] + n],
        i64[i64[proxy + w.G_CURRENT] : i64[proxy + w.G_CURRENT] + n],
        i64[i64[proxy + w.G_FAILS] : i64[proxy + w.G_FAILS] + n],
        f64[i64[proxy + w.G_ACCESSED] : i64[proxy + w.G_ACCESSED] + n],
        f64[i64[proxy + w.G_CHECKED] : i64[proxy + w.G_CHECKED] + n],
    )


@kernel
def pick(i64: Ints, f64: Floats, front: int, avoid: int) -> int:
    """The server for a request."""
    return choose_server(proxy_of(i64, f64, front), avoid)


@kernel
def check_result(i64: Ints, f64: Floats, front: int, server: int, ok: bool) -> int:
    """A server's health check has a result."""
    return enter_result(proxy_of(i64, f64, front), server, ok)


@kernel
def proxy_work(i64: Ints, f64: Floats, call: int, daemon: int, stream: int, pc: int) -> bool:
    """CPU of a proxy for one more request."""
    seconds = cost(i64, f64, f64[w.COST_PROXY], f64[w.COST_PROXY_CV], stream)
    i64[call + w.C_PC] = pc
    submit(i64, f64, i64[daemon + w.A_CPU], seconds, daemon, 0, w.JOB_CALL, call, i64[call + w.C_TOKEN])
    return False


@kernel
def over(i64: Ints, f64: Floats, call: int, status: int, outcome: int) -> bool:
    """The request's process ends with an answer."""
    finish(i64, f64, call, status, outcome)
    i64[call + w.C_PC] = w.PC_OVER
    release_call(i64, f64, call)
    return False


@kernel
def travel(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """From the client to a front end and back; whether the request can go on at once."""
    front = i64[call + w.C_FRONT_END]
    site, there = i64[call + w.C_SITE], i64[front + w.A_SITE]
    if pc == w.PC_TRAVEL:
        i64[call + w.C_PC] = w.PC_TRAVEL_CONNECTED
        i64[call + w.C_GOT] = 1
        if i64[call + w.C_FRESH] and there != site:
            left = f64[call + w.C_DEADLINE] - f64[w.NOW]
            return connect(i64, f64, call, PUBLIC, site, there, left, w.PC_TRAVEL_CONNECTED)
        return True
    if pc == w.PC_TRAVEL_CONNECTED:
        if not i64[call + w.C_GOT]:
            i64[call + w.C_PC] = w.PC_OVER
            release_call(i64, f64, call)
            return False
        if not i64[front + w.A_UP]:
            return over(i64, f64, call, 0, w.REFUSED)
        return transfer(i64, f64, call, PUBLIC, site, there, _REQUEST, w.PC_TRAVEL_SENT)
    if pc == w.PC_TRAVEL_SENT:
        if not runs(i64, f64, call, front):
            return False
        i64[call + w.C_PC] = w.PC_FRONT if i64[front + w.A_UP] else w.PC_FRONT_LEFT
        return True
    if pc == w.PC_TRAVEL_END:
        return over(i64, f64, call, i64[call + w.C_STATUS], -1)
    if pc == w.PC_ASK:
        target = i64[call + w.C_TARGET]
        if i64[target + w.A_SITE] != there:
            return connect(
                i64, f64, call, VPN, there, i64[target + w.A_SITE], f64[call + w.C_LIMIT], w.PC_ASK_CONNECTED
            )
        i64[call + w.C_GOT] = 1
        i64[call + w.C_PC] = w.PC_ASK_CONNECTED
        return True
    if pc == w.PC_ASK_CONNECTED:
        if not i64[call + w.C_GOT]:
            return over(i64, f64, call, 0, w.TIMED_OUT)
        if not i64[i64[call + w.C_TARGET] + w.A_UP]:
            return over(i64, f64, call, 0, w.REFUSED)
        if not i64[front + w.X_HTTP]:
            return over(i64, f64, call, 200, -1)  # the kernel accepts, even for a process that hangs
        i64[call + w.C_PC] = w.PC_EXCHANGE
        return True
    # PC_ASK_FRONT: the DNS balancer's question
    if not runs(i64, f64, call, front):
        return False
    if not i64[front + w.A_UP]:
        return over(i64, f64, call, 0, w.REFUSED)
    i64[call + w.C_PC] = w.PC_FRONT
    return True


@kernel
def front_end(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """HAProxy at a site; whether the request can go on at once."""
    front = i64[call + w.C_FRONT_END]
    if pc == w.PC_FRONT:
        put_in(i64, f64, call, w.C_FE_NEXT, front + w.X_CALLS_HEAD)
        return proxy_work(i64, f64, call, front, i64[front + w.X_STREAM], w.PC_FRONT_WORKED)
    if pc == w.PC_FRONT_WORKED:
        if not runs(i64, f64, call, front):
            return False
        i64[call + w.C_SERVER] = pick(i64, f64, front, -1)
        i64[call + w.C_ATTEMPT] = 0
        i64[call + w.C_PC] = w.PC_FRONT_SERVER
        return True
    server = i64[call + w.C_SERVER]
    if pc == w.PC_FRONT_SERVER:
        if server < 0:
            i64[call + w.C_STATUS] = _UNAVAILABLE
            i64[call + w.C_PC] = w.PC_FRONT_LEAVE
            return True
        target = i64[i64[front + w.X_SERVERS] + server]
        i64[call + w.C_TARGET] = target
        i64[i64[front + w.X_SESSIONS] + server] += 1
        reuse = not i64[call + w.C_FRESH] and f64[w.NOW] - f64[i64[front + w.X_USED] + server] < _IDLE
        if i64[target + w.A_SITE] != i64[front + w.A_SITE] and not reuse:
            wait = f64[front + w.X_CONNECT]
            return connect(
                i64, f64, call, VPN, i64[front + w.A_SITE], i64[target + w.A_SITE], wait, w.PC_FRONT_CONNECTED
            )
        i64[call + w.C_GOT] = 1
        i64[call + w.C_PC] = w.PC_FRONT_CONNECTED
        return True
    target = i64[call + w.C_TARGET]
    if pc == w.PC_FRONT_CONNECTED:
        if i64[call + w.C_GOT] and i64[target + w.A_UP]:
            limit(i64, f64, call, f64[front + w.X_TIMEOUT_SERVER], _TIMEOUT)
            i64[call + w.C_PC] = w.PC_EXCHANGE
            return True
        i64[i64[front + w.X_SESSIONS] + server] -= 1
        proxy = proxy_of(i64, f64, front)
        active, still_up = count_active(proxy), is_up(proxy, server)
        settings = Retries(
            f64[front + w.X_CONNECT], i64[front + w.X_RETRIES], i64[front + w.X_REDISPATCH] != 0
        )
        following = retry(settings, i64[call + w.C_ATTEMPT], i64[target + w.A_UP] == 0, active, still_up)
        i64[call + w.C_ATTEMPT] += 1
        if following.status:
            i64[call + w.C_STATUS] = following.status
            i64[call + w.C_PC] = w.PC_FRONT_LEAVE
            return True
        i64[call + w.C_REDISPATCH] = 1 if following.redispatch else 0
        if following.delay > 0.0:
            return resume_later(i64, f64, call, following.delay, w.PC_FRONT_AGAIN)
        i64[call + w.C_PC] = w.PC_FRONT_AGAIN
        return True
    if pc == w.PC_FRONT_AGAIN:
        if i64[call + w.C_REDISPATCH]:
            i64[call + w.C_SERVER] = pick(i64, f64, front, server)
        i64[call + w.C_PC] = w.PC_FRONT_SERVER
        return True
    if pc == w.PC_EXCHANGE:
        return transfer(
            i64, f64, call, VPN, i64[front + w.A_SITE], i64[target + w.A_SITE], _REQUEST, w.PC_EXCHANGE_SENT
        )
    if pc == w.PC_EXCHANGE_SENT:
        if not runs(i64, f64, call, target):
            return False
        if not i64[target + w.A_UP]:
            i64[call + w.C_PC] = w.PC_EXCHANGE_DONE
        elif i64[target + w.A_KIND] == w.NGINX:
            i64[call + w.C_NGINX] = target
            i64[call + w.C_PC] = w.PC_NGINX
        else:
            i64[call + w.C_REPLICA] = target
            i64[call + w.C_PC] = w.PC_SERVICE
        return True
    if pc == w.PC_EXCHANGE_DONE:
        if not i64[target + w.A_UP]:
            i64[call + w.C_STATUS] = 0  # the connection broke before the answer
        return transfer(
            i64, f64, call, VPN, i64[target + w.A_SITE], i64[front + w.A_SITE], _RESPONSE, w.PC_EXCHANGE_BACK
        )
    if pc == w.PC_EXCHANGE_BACK:
        if not i64[call + w.C_STATUS]:
            i64[call + w.C_STATUS] = _BAD_GATEWAY
        if i64[call + w.C_ORIGIN] == w.CHECK:
            return over(i64, f64, call, i64[call + w.C_STATUS], -1)
        f64[i64[front + w.X_USED] + server] = f64[w.NOW]
        i64[i64[front + w.X_SESSIONS] + server] -= 1
        i64[call + w.C_PC] = w.PC_FRONT_LEAVE
        return True
    if pc == w.PC_FRONT_LEAVE:
        if not runs(i64, f64, call, front):
            return False
        take_out(i64, f64, call, w.C_FE_NEXT, front + w.X_CALLS_HEAD)
        i64[call + w.C_PC] = w.PC_FRONT_LEFT
    # PC_FRONT_LEFT: back to who asked
    if i64[call + w.C_ORIGIN] == w.DNS:
        return over(i64, f64, call, i64[call + w.C_STATUS], -1)
    if not i64[front + w.A_UP]:
        return over(i64, f64, call, 0, w.REFUSED)
    return transfer(
        i64, f64, call, PUBLIC, i64[front + w.A_SITE], i64[call + w.C_SITE], _RESPONSE, w.PC_TRAVEL_END
    )


@kernel
def reverse_proxy(i64: Ints, f64: Floats, call: int, pc: int) -> bool:
    """Nginx in front of its site's identity services; whether the request can go on at once."""
    proxy = i64[call + w.C_NGINX]
    if pc == w.PC_NGINX:
        put_in(i64, f64, call, w.C_NG_NEXT, proxy + w.G_CALLS_HEAD)
        return proxy_work(i64, f64, call, proxy, i64[proxy + w.G_STREAM], w.PC_NGINX_WORKED)
    if pc == w.PC_NGINX_WORKED:
        if not runs(i64, f64, call, proxy):
            return False
        i64[call + w.C_TRIED] = 0
        i64[call + w.C_TIMED_OUT] = 0
        i64[call + w.C_PC] = w.PC_NGINX_TRY
        return True
    if pc == w.PC_NGINX_TRY:
        peer = choose_peer(group_of(i64, f64, proxy), f64[w.NOW], i64[call + w.C_TRIED])
        if peer < 0:
            i64[call + w.C_STATUS] = nginx_status(i64[call + w.C_TIMED_OUT] != 0)
            i64[call + w.C_PC] = w.PC_NGINX_LEAVE
            return True
        i64[call + w.C_TRIED] |= 1 << peer
        i64[call + w.C_PEER] = peer
        replica = i64[i64[proxy + w.G_REPLICAS] + peer]
        i64[call + w.C_REPLICA] = replica
        i64[call + w.C_SENT] = i64[replica + w.A_UP]
        if not i64[replica + w.A_UP]:
            i64[call + w.C_PC] = w.PC_NGINX_TRIED
            return True
        f64[call + w.C_STARTED] = f64[w.NOW]
        limit(i64, f64, call, f64[proxy + w.G_READ_TIMEOUT], _TIMEOUT)
        i64[call + w.C_PC] = w.PC_NGINX_SEND
        return True
    replica = i64[call + w.C_REPLICA]
    if pc == w.PC_NGINX_SEND:
        if not runs(i64, f64, call, replica):
            return False
        late = f64[w.NOW] - f64[call + w.C_STARTED] >= f64[proxy + w.G_READ_TIMEOUT]
        i64[call + w.C_PC] = w.PC_SERVICE if i64[replica + w.A_UP] and not late else w.PC_NGINX_DONE
        return True
    if pc == w.PC_NGINX_DONE:
        late = f64[w.NOW] - f64[call + w.C_STARTED] >= f64[proxy + w.G_READ_TIMEOUT]
        i64[call + w.C_TIMED_OUT] = 1 if late else 0
        if late:
            i64[call + w.C_STATUS] = 0
        i64[call + w.C_PC] = w.PC_NGINX_TRIED
        return True
    if pc == w.PC_NGINX_TRIED:
        peer = i64[call + w.C_PEER]
        if i64[call + w.C_STATUS]:
            succeeded(group_of(i64, f64, proxy), peer)
            i64[call + w.C_PC] = w.PC_NGINX_LEAVE
            return True
        failed(group_of(i64, f64, proxy), peer, f64[w.NOW])
        if may_retry(i64[call + w.C_SENT] != 0, i64[call + w.C_KIND] == HEALTH):
            i64[call + w.C_PC] = w.PC_NGINX_TRY
        else:
            i64[call + w.C_STATUS] = nginx_status(i64[call + w.C_TIMED_OUT] != 0)
            i64[call + w.C_PC] = w.PC_NGINX_LEAVE
        return True
    # PC_NGINX_LEAVE
    if not runs(i64, f64, call, proxy):
        return False
    take_out(i64, f64, call, w.C_NG_NEXT, proxy + w.G_CALLS_HEAD)
    i64[call + w.C_NGINX] = 0
    i64[call + w.C_PC] = w.PC_EXCHANGE_DONE
    return True
