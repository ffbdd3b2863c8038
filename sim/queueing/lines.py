"""One station in order of arrival: no events are needed."""

# mypy: disable-error-code="no-any-return,no-untyped-call,misc,untyped-decorator"
from __future__ import annotations

import math

import numpy as np

from sim.queueing.heaps import ROOT, heap_replace
from sim.queueing.jit import Floats, Ints, kernel, philox, service_time, unit


@kernel
def single_server(
    key0: int,
    key1: int,
    rate: float,
    mean: float,
    cv: float,
    warm: int,
    size: int,
    batches: Floats,
    samples: Floats,
    totals: Floats,
) -> None:
    """M/G/1 in order of arrival by Lindley's recursion; ``totals``: start, end, response, busy."""
    words = np.empty(8, dtype=np.uint64)
    arrival, free = 0.0, 0.0
    keep = len(samples) > 0
    for number in range(warm + size * len(batches)):
        place = number & 3
        if place == 0:
            philox(key0, key1, (number >> 2) + 1, 0, words, 0)
            philox(key0, key1, (number >> 2) + 1, 1, words, 4)
        arrival -= math.log(unit(words[place])) / rate
        service = service_time(unit(words[4 + place]), mean, cv)
        free = max(free, arrival) + service
        if number >= warm:
            counted = number - warm
            response = free - arrival
            batches[counted // size] += response
            totals[2] += response
            totals[3] += service
            if keep:
                samples[counted] = response
        elif number == warm - 1:
            totals[0] = arrival
    totals[1] = arrival


@kernel
def many_servers(
    key0: int,
    key1: int,
    rate: float,
    mean: float,
    cv: float,
    warm: int,
    size: int,
    batches: Floats,
    samples: Floats,
    totals: Floats,
    servers: int,
    free: Floats,
    who: Ints,
) -> None:
    """M/G/c in order of arrival: the next customer takes the server that is free first.

    Batches are in order of arrival here (several servers overtake one another).
    """
    words = np.empty(8, dtype=np.uint64)
    arrival = 0.0
    keep = len(samples) > 0
    for number in range(warm + size * len(batches)):
        place = number & 3
        if place == 0:
            philox(key0, key1, (number >> 2) + 1, 0, words, 0)
            philox(key0, key1, (number >> 2) + 1, 1, words, 4)
        arrival -= math.log(unit(words[place])) / rate
        service = service_time(unit(words[4 + place]), mean, cv)
        end = max(free[2 * ROOT], arrival) + service
        heap_replace(free, who, servers, end, 0)
        if number >= warm:
            counted = number - warm
            response = end - arrival
            batches[counted // size] += response
            totals[2] += response
            totals[3] += service
            if keep:
                samples[counted] = response
        elif number == warm - 1:
            totals[0] = arrival
    totals[1] = arrival
