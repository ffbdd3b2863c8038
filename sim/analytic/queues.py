"""One station with an endless supply of customers."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray


def erlang_b(servers: int, load: float) -> float:
    """Probability that an M/G/c/c arrival is lost; ``load`` = arrival rate x mean service time.

    By the recursion over servers, which neither overflows nor loses digits.
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Probability that an M/M/c arrival waits; ``load`` = arrival rate x mean service time.

    Raises:
        ValueError: the queue is unstable (``load`` >= ``servers``).
    """
    if load >= servers:
        raise ValueError(f"an offered load of {load:g} needs more than {servers} servers")
    blocked = erlang_b(servers, load)
    return blocked / (1 - load / servers * (1 - blocked))


def mmc_wait(rate: float, service: float, servers: int) -> float:
    """Mean wait of an M/M/c queue."""
    return erlang_c(servers, rate * service) * service / (servers - rate * service)


def mmc_wait_quantile(rate: float, service: float, servers: int, quantile: float) -> float:
    """The wait that ``quantile`` of the M/M/c customers stay below (FCFS): an exponential tail."""
    waits = erlang_c(servers, rate * service)
    if quantile <= 1 - waits:
        return 0.0
    return log(waits / (1 - quantile)) * service / (servers - rate * service)


def mmc_jobs(rate: float, service: float, servers: int) -> float:
    """Mean number of customers in an M/M/c queue, those in service included (Little's law)."""
    return rate * (service + mmc_wait(rate, service, servers))


def mg1_wait(rate: float, service: float, cv: float) -> float:
    """Mean wait of an M/G/1 queue in order of arrival, service times of variation ``cv``.

    Pollaczek and Khinchine.

    Raises:
        ValueError: the queue is unstable.
    """
    load = rate * service
    if load >= 1:
        raise ValueError(f"an offered load of {load:g} needs more than one server")
    return load * service * (1 + cv * cv) / (2 * (1 - load))


def ps_sojourn(rate: float, service: float, cores: int = 1) -> float:
    """Mean time in a processor-sharing station with ``cores`` cores, one core per job at most.

    Exact for one core and any service distribution (M/G/1-PS is insensitive), and for more cores
    too: the number of jobs is that of M/M/c, whatever the distribution.
    """
    return service + mmc_wait(rate, service, cores)


def ps_sojourn_given(rate: float, service: float, demand: float) -> float:
    """Mean time in M/G/1-PS of a job that needs ``demand``: all are slowed down by the same factor.

    Raises:
        ValueError: the queue is unstable.
    """
    load = rate * service
    if load >= 1:
        raise ValueError(f"an offered load of {load:g} needs more than one core")
    return demand / (1 - load)


def lindley(gaps: ArrayLike, services: ArrayLike) -> NDArray[np.float64]:
    """Wait of every customer of a single server in order of arrival, without an event loop.

    Lindley's recursion ``w[n+1] = max(0, w[n] + s[n] - gap[n+1])`` unrolled: the wait is the walk of
    ``s - gap`` less its running minimum, two passes over the arrays.

    Args:
        gaps: time between each arrival and the one before; the first from time zero.
        services: service time of each.

    Raises:
        ValueError: the lengths differ.
    """
    between = np.asarray(gaps, dtype=np.float64)
    service = np.asarray(services, dtype=np.float64)
    if between.shape != service.shape:
        raise ValueError(f"{len(between)} arrivals and {len(service)} services")
    if not len(between):
        return np.zeros(0)
    walk = np.empty_like(service)
    walk[0] = 0.0
    np.cumsum(service[:-1] - between[1:], out=walk[1:])
    waits: NDArray[np.float64] = walk - np.minimum.accumulate(walk)
    return waits
