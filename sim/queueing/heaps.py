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
        if before <= at:
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
    hole = 2 * ROOT
    end = 2 * (size + ROOT)
    while True:
        best = 4 * hole - 16  # the first child: entry 4 i + 1 of entry i, both shifted by ROOT
        if best + 6 < end:
            # Choices rather than branches: which child is first cannot be foreseen, and a wrong guess
            # costs more than all four comparisons.
            second = best + 2 if times[best + 2] < times[best] else best
            fourth = best + 6 if times[best + 6] < times[best + 4] else best + 4
            best = fourth if times[fourth] < times[second] else second
        elif best < end:
            for other in range(best + 2, end, 2):
                best = other if times[other] < times[best] else best
        else:
            break
        least = times[best]
        if at <= least:
            break
        times[hole] = least
        who[hole + 1] = who[best + 1]
        hole = best
    times[hole] = at
    who[hole + 1] = customer


@kernel
def heap_pop(times: Floats, who: Ints, size: int) -> int:
    """Take the first entry away; returns the new size."""
    size -= 1
    if size > 0:
        last = 2 * (size + ROOT)
        heap_replace(times, who, size, times[last], who[last + 1])
    return size
