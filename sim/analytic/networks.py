"""Closed networks of stations: a fixed number of users who think and ask. Exact mean value analysis.

Exact for processor sharing with any service distribution and for order of arrival with exponential
service times of the same mean for all classes (Reiser and Lavenberg 1980; Baskett, Chandy, Muntz,
Palacios 1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

MAX_STATES = 2_000_000
"""Populations that `mva_classes` walks through at most: it is exact, not clever."""


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


def closed_multiserver(
    demands: Sequence[float], servers: Sequence[int], think: float, users: int
) -> tuple[float, float]:
    """The same with stations of several servers, or cores: Buzen's convolution.

    Mean value analysis with load-dependent stations subtracts nearly equal numbers and falls apart near
    saturation; the convolution only adds and multiplies, here in logarithms. Takes users squared steps
    per station.

    Returns:
        (throughput, response time without the think time).
    """
    counts = np.arange(1, users + 1, dtype=np.float64)

    def weights(demand: float, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the weight of 0 .. users customers at a station that serves at ``rates``."""
        if demand == 0:
            return np.concatenate([[0.0], np.full(users, -np.inf)])
        return np.concatenate([[0.0], np.cumsum(np.log(demand) - np.log(rates))])

    total = weights(think, counts)
    for demand, count in zip(demands, servers, strict=True):
        station = weights(demand, np.minimum(counts, count))
        total = np.array(
            [np.logaddexp.reduce(total[: n + 1] + station[n::-1]) for n in range(users + 1)], dtype=np.float64
        )
    rate = float(np.exp(total[users - 1] - total[users]))
    return rate, users / rate - think


@dataclass(frozen=True)
class ClassResult:
    """What one class of users gets.

    Attributes:
        throughput: cycles per second of the class.
        response: seconds per cycle without the think time.
        queues: mean number of the class at each station.
    """

    throughput: float
    response: float
    queues: tuple[float, ...]


def mva_classes(
    demands: Sequence[Sequence[float]], think: Sequence[float], users: Sequence[int]
) -> tuple[ClassResult, ...]:
    """Several classes of users on single-server stations, exact.

    Args:
        demands: seconds of service per cycle, by class and station.
        think: seconds, by class.
        users: by class; the product of (users + 1) is the number of populations walked through.

    Raises:
        ValueError: too many populations.
    """
    states = prod(count + 1 for count in users)
    if states > MAX_STATES:
        raise ValueError(f"exact analysis of {states} populations; {MAX_STATES} at most")
    stations = range(len(demands[0]))
    totals: dict[tuple[int, ...], list[float]] = {}
    found: list[ClassResult] = []
    for population in product(*(range(count + 1) for count in users)):
        total = [0.0 for _ in stations]
        found = []
        for group, size in enumerate(population):
            if size == 0:
                found.append(ClassResult(0.0, 0.0, tuple(total[k] * 0 for k in stations)))
                continue
            fewer = (*population[:group], size - 1, *population[group + 1 :])
            times = [demands[group][k] * (1 + totals[fewer][k]) for k in stations]
            rate = size / (think[group] + sum(times))
            found.append(ClassResult(rate, sum(times), tuple(rate * time for time in times)))
        for result in found:
            total = [have + more for have, more in zip(total, result.queues, strict=True)]
        totals[population] = total
    return tuple(found)


def saturation(demands: Sequence[float], think: float) -> float:
    """Users beyond which the busiest station, not the users, sets the throughput: (Z + sum D) / max D."""
    return (think + sum(demands)) / max(demands)
