"""A closed network by hand in numba: what somebody would write who needs this one network and nothing else.

Users who think in a binary heap, single servers in order of arrival as ring buffers, numpy's random
numbers, the mean response and the throughput as the only results.
"""

# mypy: disable-error-code="untyped-decorator,misc"
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def closed(
    services: NDArray[np.float64], think: float, users: int, customers: int, seed: int
) -> tuple[float, float]:
    """Mean response and throughput over ``customers`` rounds."""
    np.random.seed(seed)
    stations = len(services)
    heap_time = np.empty(users)
    heap_user = np.empty(users, dtype=np.int64)
    size = 0
    queue = np.empty((stations, users), dtype=np.int64)
    head = np.zeros(stations, dtype=np.int64)
    length = np.zeros(stations, dtype=np.int64)
    ends = np.full(stations, np.inf)
    began = np.empty(users)
    for user in range(users):
        time = np.random.exponential(think)
        hole = size
        size += 1
        while hole > 0 and heap_time[(hole - 1) >> 1] > time:
            heap_time[hole] = heap_time[(hole - 1) >> 1]
            heap_user[hole] = heap_user[(hole - 1) >> 1]
            hole = (hole - 1) >> 1
        heap_time[hole] = time
        heap_user[hole] = user
    done = 0
    total = 0.0
    now = 0.0
    while done < customers:
        now = heap_time[0] if size else np.inf
        station = -1
        for k in range(stations):
            if ends[k] < now:
                now = ends[k]
                station = k
        if station < 0:
            user = heap_user[0]
            began[user] = now
            size -= 1
            time = heap_time[size]
            other = heap_user[size]
            hole = 0
            while True:
                child = 2 * hole + 1
                if child >= size:
                    break
                if child + 1 < size and heap_time[child + 1] < heap_time[child]:
                    child += 1
                if heap_time[child] >= time:
                    break
                heap_time[hole] = heap_time[child]
                heap_user[hole] = heap_user[child]
                hole = child
            heap_time[hole] = time
            heap_user[hole] = other
        else:
            user = queue[station, head[station]]
            head[station] = (head[station] + 1) % users
            length[station] -= 1
            ends[station] = now + np.random.exponential(services[station]) if length[station] else np.inf
        after = station + 1
        if after == stations:
            total += now - began[user]
            done += 1
            time = now + np.random.exponential(think)
            hole = size
            size += 1
            while hole > 0 and heap_time[(hole - 1) >> 1] > time:
                heap_time[hole] = heap_time[(hole - 1) >> 1]
                heap_user[hole] = heap_user[(hole - 1) >> 1]
                hole = (hole - 1) >> 1
            heap_time[hole] = time
            heap_user[hole] = user
        else:
            queue[after, (head[after] + length[after]) % users] = user
            length[after] += 1
            if length[after] == 1:
                ends[after] = now + np.random.exponential(services[after])
    return total / done, done / now
