"""Times that follow from timers and quotas alone."""

from __future__ import annotations

from math import ceil


def quota_elapsed(demand: float, quota: float, period: float) -> float:
    """Time that one thread takes for ``demand`` CPU seconds under a CFS quota, from a period's start.

    Args:
        demand: CPU seconds.
        quota: cores granted; one or more never stops a single thread.
        period: of the quota.
    """
    grant = quota * period
    if quota >= 1 or demand <= grant:
        return demand
    periods = ceil(demand / grant - 1e-9) - 1
    return periods * period + (demand - periods * grant)


def stall(
    suspect: float,
    check: float,
    keepalive: float,
    rtt: float,
    round_trips: tuple[float, float] = (4.0, 10.0),
    retransmit: float = 1.0,
) -> tuple[float, float]:
    """Shortest and longest write stall after a Galera member is lost.

    components.md 1.11, and up to `evs.join_retrans_period` more until the members see that they agree
    (:mod:`sim.protocols.joining`).
    """
    low, high = round_trips
    return suspect - keepalive + low * rtt, suspect + check + retransmit + high * rtt


def haproxy_down(inter: float, fall: int, hung: bool, timeout: float | None = None) -> tuple[float, float]:
    """Shortest and longest time until HAProxy marks a server down (components.md 4.1)."""
    base = (fall - 1) * inter
    if hung:
        base += fall * (inter if timeout is None else timeout)
    return base, base + inter


def dns_down(interval: float, down: int, hung: bool, timeout: float | None = None) -> tuple[float, float]:
    """Shortest and longest time until gdnsd takes an address out (components.md 5.2)."""
    base = (down - 1) * interval
    if hung:
        base += interval / 2 if timeout is None else timeout
    return base, base + interval
