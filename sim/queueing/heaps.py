"""Heaps of (time, who).

One array, seen as floats and as integers: entry i is times[2 i] and who[2 i + 1]. Four children to a
node, the root at entry 3: depth is half that of a binary heap, and a node's children share one cache
line, which is what counts with a million users.
"""

from __future__ import annotations

from sim.queueing.jit import Floats, Ints, kernel

ROOT = 3
"""Entry of the first event; the entries before it are not used."""


@kernel
def heap_push(times: Floats, who: Ints, size: int, at: float, customer: int) -> int:
    """Add an entry; returns the new size."""
    hole = size
    while hole > 0:
        parent = (hole - 1) >> 2
        place = 2 * (parent + ROOT)
        before = times[place]
        if before < at or (before == at and who[place + 1] < customer):
            break
        times[2 * (hole + ROOT)] = before
        who[2 * (hole + ROOT) + 1] = who[place + 1]
        hole = parent
    times[2 * (hole + ROOT)] = at
    who[2 * (hole + ROOT) + 1] = customer
    return size + 1


@kernel
def heap_replace(times: Floats, who: Ints, size: int, at: float, customer: int) -> None:
    """Put an entry in the place of the first."""
    hole = 0
    while True:
        child = 4 * hole + 1
        if child >= size:
            break
        best = 2 * (child + ROOT)
        least = times[best]
        for other in range(best + 2, 2 * (min(child + 4, size) + ROOT), 2):
            time = times[other]
            if time < least or (time == least and who[other + 1] < who[best + 1]):
                best = other
                least = time
        if at < least or (at == least and customer < who[best + 1]):
            break
        times[2 * (hole + ROOT)] = least
        who[2 * (hole + ROOT) + 1] = who[best + 1]
        hole = best // 2 - ROOT
    times[2 * (hole + ROOT)] = at
    who[2 * (hole + ROOT) + 1] = customer


@kernel
def heap_pop(times: Floats, who: Ints, size: int) -> int:
    """Take the first entry away; returns the new size."""
    size -= 1
    if size > 0:
        last = 2 * (size + ROOT)
        heap_replace(times, who, size, times[last], who[last + 1])
    return size
