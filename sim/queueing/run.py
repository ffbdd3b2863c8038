"""Run a network on the compiled kernels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.queueing.model import DISCIPLINES, Closed, Network, Open, Result, StationResult
from sim.random import key_of
from sim.statistics.series import of_batches

STREAM = "queueing"
"""Stream that all random numbers of a network come from: entity = user or station, index = draw."""

MOST_SCANNED = 32
"""Stations whose ends of service are looked through one by one; with more of them a heap is quicker."""

WHEEL_FROM = 4096
BUCKET = 2
"""Customers from which far events are kept in a wheel, and events per bucket of it."""

FIRST_SLOTS = 1024
"""Customers present at once that an open network is first run with."""


def simulate(
    network: Network,
    customers: int,
    *,
    seed: int = 0,
    warmup: int | None = None,
    batches: int = 30,
    samples: bool = False,
) -> Result:
    """Simulate until ``customers`` have been served after the warm-up.

    A pure function of its arguments. Memory grows with the customers present at once, not with the
    simulated time, unless samples are asked for.

    Args:
        network: what is simulated.
        customers: rounds of the users, or departures, that count; rounded down to whole batches.
        seed: of all random numbers.
        warmup: customers before those; a tenth as many when not given.
        batches: of responses, for the interval.
        samples: keep every response.

    Raises:
        ValueError: fewer customers than batches.
    """
    size = customers // batches
    if size < 1 or batches < 2:
        raise ValueError(f"{customers} customers do not make {batches} batches")
    warm = customers // 10 if warmup is None else warmup
    key = key_of(seed, STREAM, "")
    sums = np.zeros(batches)
    kept = np.empty(size * batches if samples else 0)
    totals = np.zeros(4)
    if isinstance(network, Open) and len(network.stations) == 1 and network.stations[0].discipline == "fcfs":
        stations = _line(network, key, warm, size, sums, kept, totals)
        events = 2.0 * (warm + size * batches)
    else:
        stations = _network(network, key, warm, size, sums, kept, totals)
        events = totals[3]
    elapsed = float(totals[1] - totals[0])
    return Result(
        customers=size * batches,
        events=int(events),
        elapsed=elapsed,
        throughput=size * batches / elapsed,
        response=of_batches(sums / size, size),
        stations=stations,
        samples=kept if samples else None,
    )


def _line(
    network: Open,
    key: NDArray[np.uint64],
    warm: int,
    size: int,
    sums: NDArray[np.float64],
    kept: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> tuple[StationResult, ...]:
    from sim.queueing.heaps import ROOT
    from sim.queueing.lines import many_servers, single_server

    (station,) = network.stations
    given = (key[0], key[1], network.rate, station.service, station.cv, warm, size, sums, kept, totals)
    if station.servers == 1:
        single_server(*given)
    else:
        free = np.zeros(2 * (station.servers + ROOT))
        many_servers(*given, station.servers, free, free.view(np.int64))
    elapsed = totals[1] - totals[0]
    # Little's law for both: what the counted customers brought, by the time in which they came.
    return (StationResult(station.name, float(totals[2] / elapsed), float(totals[3] / elapsed)),)


def _network(
    network: Network,
    key: NDArray[np.uint64],
    warm: int,
    size: int,
    sums: NDArray[np.float64],
    kept: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> tuple[StationResult, ...]:
    from sim.queueing import kernels
    from sim.queueing.heaps import ROOT

    closed = isinstance(network, Closed)
    stations = network.stations
    count = len(stations)
    kinds = np.array(
        [
            kernels.SINGLE
            if station.discipline == "fcfs" and station.servers == 1 and count <= MOST_SCANNED
            else DISCIPLINES.index(station.discipline)
            for station in stations
        ]
    )
    slots = network.users if isinstance(network, Closed) else FIRST_SLOTS
    while True:
        sums[:] = 0.0
        totals[:] = 0.0
        state = np.zeros((count, kernels.COLUMNS))
        state[:, kernels.MEAN] = [station.service for station in stations]
        state[:, kernels.CV] = [station.cv for station in stations]
        state[:, kernels.SERVERS] = [
            math.inf if station.discipline == "delay" else station.servers for station in stations
        ]
        any_shared = any(station.discipline == "ps" for station in stations)
        inverse, wheel = _wheel(network, slots)
        heap = _aligned(2 * (slots + ROOT + 1))
        shared = np.empty((count, 2 * (slots + ROOT + 1) if any_shared else 1))
        records = _aligned(kernels.RECORD * slots)
        ended = kernels.network(
            closed,
            key[0],
            key[1],
            network.think if isinstance(network, Closed) else network.rate,
            kinds,
            state,
            np.empty(count),
            warm,
            size,
            sums,
            kept,
            totals,
            heap,
            heap.view(np.int64),
            shared,
            shared.view(np.int64),
            np.zeros(count, dtype=np.int64),
            np.empty(count, dtype=np.int64),
            np.empty(count, dtype=np.int64),
            inverse,
            wheel,
            np.array([0, 0, -1]),
            records,
            records.view(np.int64),
            records.view(np.uint64),
            np.empty(count + 1, dtype=np.int64),
            np.empty(4 * (count + 1), dtype=np.uint64),
        )
        if ended == kernels.OK:
            break
        slots *= 2  # the same run again with more room: its random numbers do not depend on it
    elapsed = totals[1] - totals[0]
    return tuple(
        StationResult(
            station.name, float(state[k, kernels.AREA] / elapsed), float(state[k, kernels.BUSY] / elapsed)
        )
        for k, station in enumerate(stations)
    )


def _wheel(network: Network, slots: int) -> tuple[float, NDArray[np.int64]]:
    """Width and buckets of the wheel that holds far events: none for few customers, a heap is quicker then.

    A bucket is to hold about BUCKET events of the fastest that the network can be, and the wheel to reach
    about as far as a user thinks; what is farther off waits beyond it.
    """
    stations = network.stations
    if slots < WHEEL_FROM or not isinstance(network, Closed):
        return 0.0, np.full(1, -1, dtype=np.int64)
    limits = [station.servers / station.service for station in stations if station.discipline != "delay"]
    around = network.think + sum(station.service for station in stations)
    rate = min([network.users / around, *limits]) * (1 + len(stations))
    inverse = 2.0 ** math.floor(math.log2(rate / BUCKET))
    reach = 2 ** math.ceil(math.log2(max(2.0, 4 * around * inverse)))
    return inverse, np.full(min(reach, 1 << 22), -1, dtype=np.int64)


def _aligned(count: int) -> NDArray[np.float64]:
    """Floats that begin with a cache line."""
    raw = np.empty(count + 8)
    offset = (-raw.ctypes.data // 8) % 8
    return raw[offset : offset + count]
