"""HAProxy: active health checks, choice of a server, and what becomes of a failed connection.

Source: HAProxy 2.6.12 src/check.c (health counter), src/backend.c (back_handle_st_cer),
include/haproxy/stream.h (stream_choose_redispatch), src/lb_fwrr.c, src/lb_fwlc.c, doc/configuration.txt;
components.md 4.1 and 4.2. Seconds.

Example:
    >>> proxy = new_proxy(2, check=Check(inter=2.0, fall=3, rise=2))
    >>> choose(proxy), choose(proxy), choose(proxy)
    (0, 1, 0)
    >>> check_result(proxy, 1, False)                  # the first check after the start decides at once
    'down'
    >>> choose(proxy), choose(proxy)
    (0, 0)
    >>> retry(Retries(), attempt=0, refused=True, active=1)
    Retry(status=0, delay=1.0, redispatch=False)
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from sim.protocols.tables import Floats, Ints

UNAVAILABLE = 503
GATEWAY_TIMEOUT = 504
BAD_GATEWAY = 502

TURN_AROUND = 1.0
"""Longest wait before trying the same server again: min(timeout connect, 1 s)."""


class Check(NamedTuple):
    """Health check settings; `fastinter` and `downinter` are `inter` unless given, `timeout` too."""

    inter: float = 2.0
    fall: int = 3
    rise: int = 2
    fastinter: float | None = None
    downinter: float | None = None
    timeout: float | None = None


class Proxy(NamedTuple):
    """One HAProxy's backend: settings and flat tables by server.

    Attributes:
        health: 0..rise+fall-1; the server is UP from `rise` on.
        turn: roundrobin's virtual time of each server's next turn.
        sessions: connections each server serves now.
    """

    check: Check
    leastconn: int
    allbackups: int
    backup: Ints
    weight: Ints
    health: Ints
    turn: Floats
    sessions: Ints


def new_proxy(
    servers: int,
    *,
    check: Check = Check(),  # noqa: B008 - immutable
    balance: str = "roundrobin",
    backup: list[bool] | None = None,
    weights: list[int] | None = None,
    allbackups: bool = False,
) -> Proxy:
    """A backend just after the start: servers are UP, but one failed check away from DOWN.

    Args:
        servers: how many.
        check: health check settings.
        balance: `roundrobin` or `leastconn`.
        backup: servers used only when no other is up.
        weights: all 1 by default.
        allbackups: `option allbackups`; otherwise only the first live backup is used.
    """
    return Proxy(
        check,
        1 if balance == "leastconn" else 0,
        1 if allbackups else 0,
        [int(flag) for flag in backup] if backup is not None else [0] * servers,
        list(weights) if weights is not None else [1] * servers,
        [check.rise] * servers,
        [0.0] * servers,
        [0] * servers,
    )


def is_up(proxy: Proxy, server: int) -> bool:
    """Whether ``server`` takes traffic."""
    return proxy.health[server] >= proxy.check.rise


def check_result(proxy: Proxy, server: int, ok: bool) -> str:
    """Enter a check's result. Returns `up` or `down` when the server changed state, else an empty string."""
    return ("", "up", "down")[enter_result(proxy, server, ok)]


def enter_result(proxy: Proxy, server: int, ok: bool) -> int:
    """Like :func:`check_result`: 1 when the server came up, -1 when it went down, else 0."""
    rise, full = proxy.check.rise, proxy.check.rise + proxy.check.fall - 1
    before = proxy.health[server]
    if not ok:
        proxy.health[server] = before - 1 if before > rise else 0
        return -1 if before >= rise and proxy.health[server] < rise else 0
    if before < full:
        proxy.health[server] = before + 1 if before + 1 < rise else full
    if before < rise <= proxy.health[server]:
        _catch_up(proxy, server)
        return 1
    return 0


def next_check(proxy: Proxy, server: int) -> float:
    """Seconds from a check's result to the next: `inter`, `fastinter` in between, `downinter` when down."""
    check, health = proxy.check, proxy.health[server]
    if health == check.rise + check.fall - 1:
        return check.inter
    other = check.downinter if health == 0 else check.fastinter
    return check.inter if other is None else other


def check_timeout(proxy: Proxy) -> float:
    """Seconds after which a check without an answer has failed (the whole check must fit in `inter`)."""
    return proxy.check.inter if proxy.check.timeout is None else proxy.check.timeout


def is_usable(proxy: Proxy, server: int) -> bool:
    """Whether ``server`` may be chosen now: an active one that is up, else the first live backup (or all)."""
    if not is_up(proxy, server):
        return False
    if not proxy.backup[server]:
        return True
    for other in range(len(proxy.health)):
        if is_up(proxy, other) and (not proxy.backup[other] or (other < server and not proxy.allbackups)):
            return False
    return True


def count_active(proxy: Proxy) -> int:
    """How many servers are up and no backups (`srv_act`)."""
    count = 0
    for server in range(len(proxy.health)):
        if is_up(proxy, server) and not proxy.backup[server]:
            count += 1
    return count


def choose(proxy: Proxy, avoid: int = -1) -> int:
    """The server for a request, or -1 when none is up (503 at once).

    Args:
        proxy: the state; the server's turn is used up.
        avoid: a server that just failed this request; taken only if there is no other.
    """
    best = -1
    for server in range(len(proxy.health)):
        if server == avoid or not is_usable(proxy, server):
            continue
        if best < 0 or _before(proxy, server, best):
            best = server
    if best < 0 and avoid >= 0 and is_usable(proxy, avoid):
        best = avoid
    if best >= 0:
        proxy.turn[best] += 1.0 / proxy.weight[best]
    return best


def opened(proxy: Proxy, server: int) -> None:
    """A request is being served by ``server`` (leastconn counts it)."""
    proxy.sessions[server] += 1


def closed(proxy: Proxy, server: int) -> None:
    """That request is over."""
    proxy.sessions[server] -= 1


class Retries(NamedTuple):
    """Connection settings of a backend.

    Attributes:
        connect: `timeout connect` (Debian's haproxy.cfg: 5 s).
        retries: `retries` (3).
        redispatch: `option redispatch` (off).
    """

    connect: float = 5.0
    retries: int = 3
    redispatch: bool = False


class Retry(NamedTuple):
    """What follows a failed connection attempt.

    Attributes:
        status: HTTP status to answer, 0 to try again.
        delay: seconds to wait first.
        redispatch: choose a server anew (``choose(proxy, avoid=failed)``); else the same one.
    """

    status: int
    delay: float
    redispatch: bool


def retry(settings: Retries, attempt: int, refused: bool, active: int, still_up: bool = True) -> Retry:
    """Decide after a connection attempt failed (nothing was sent; a request once sent is never retried).

    roundrobin and leastconn alike redispatch at the first failure if there is another active server (since
    2.6.7; only hashes do not).

    Args:
        settings: the backend's.
        attempt: 0 for the first.
        refused: refused or reset (then the same server is given a second to recover) rather than timed out.
        active: active servers up, this one included (:func:`count_active`).
        still_up: whether the server is still up.
    """
    count = attempt + 1
    if count > settings.retries:
        return Retry(UNAVAILABLE, 0.0, False)
    redispatch = settings.redispatch and (not still_up or count == settings.retries or active > 1)
    # A server that refused gets a moment to recover, unless another one of several is asked.
    wait = refused and not (redispatch and active > 1)
    return Retry(0, min(settings.connect, TURN_AROUND) if wait else 0.0, redispatch)


def status_of(failure: str) -> int:
    """HTTP status of a failure after the connection was made.

    Args:
        failure: `timeout` (no answer within `timeout server`: 504), `closed` (a bad answer or none: 502)
            or `queue` (waited `timeout queue` for a connection slot: 503).

    Raises:
        KeyError: unknown failure.
    """
    return {"timeout": GATEWAY_TIMEOUT, "closed": BAD_GATEWAY, "queue": UNAVAILABLE}[failure]


def _before(proxy: Proxy, server: int, other: int) -> bool:
    """Whether ``server`` is preferred to ``other``: fewer sessions per weight, then the earlier turn."""
    if proxy.leastconn:
        mine = proxy.sessions[server] * proxy.weight[other]
        theirs = proxy.sessions[other] * proxy.weight[server]
        if mine != theirs:
            return mine < theirs
    return proxy.turn[server] < proxy.turn[other]


def _catch_up(proxy: Proxy, server: int) -> None:
    """A server that comes back joins at the present turn: it must not get all the traffic it missed."""
    earliest = inf
    for other in range(len(proxy.health)):
        if other != server and is_up(proxy, other):
            earliest = min(earliest, proxy.turn[other])
    if earliest < inf:
        proxy.turn[server] = max(proxy.turn[server], earliest)
