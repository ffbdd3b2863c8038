"""Closed forms that the simulator must agree with where they hold.

All times in seconds, rates per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, lgamma, log

from sim.protocols.evs import order_time

__all__ = [
    "dns_down",
    "erlang_c",
    "haproxy_down",
    "mmc_wait",
    "mva",
    "order_time",
    "ps_sojourn",
    "quota_elapsed",
    "stall",
]


def erlang_c(servers: int, load: float) -> float:
    """Probability that an M/M/c arrival waits; ``load`` = arrival rate x mean service time.

    Raises:
        ValueError: the queue is unstable (``load`` >= ``servers``).
    """
    if load >= servers:
        raise ValueError(f"an offered load of {load:g} needs more than {servers} servers")
    if load == 0:
        return 0.0
    terms = [exp(k * log(load) - lgamma(k + 1)) for k in range(servers)]
    last = exp(servers * log(load) - lgamma(servers + 1)) * servers / (servers - load)
    return last / (sum(terms) + last)


def mmc_wait(rate: float, service: float, servers: int) -> float:
    """Mean wait of an M/M/c queue."""
    return erlang_c(servers, rate * service) * service / (servers - rate * service)


def ps_sojourn(rate: float, service: float, cores: int = 1) -> float:
    """Mean time in a processor-sharing station with ``cores`` cores, one core per job at most.

    Exact for one core and any service distribution (M/G/1-PS is insensitive), and for more cores
    too: the number of jobs is that of M/M/c, whatever the distribution.
    """
    return service + mmc_wait(rate, service, cores)


def mva(demands: Sequence[float], think: float, users: int) -> tuple[float, float]:
    """Closed network of single-server PS or FCFS-exponential stations and a think time, exact MVA.

    Returns:
        (throughput, response time without the think time).
    """
    queue = [0.0] * len(demands)
    rate, response = 0.0, 0.0
    for population in range(1, users + 1):
        times = [demand * (1 + length) for demand, length in zip(demands, queue, strict=True)]
        response = sum(times)
        rate = population / (think + response)
        queue = [rate * time for time in times]
    return rate, response


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
