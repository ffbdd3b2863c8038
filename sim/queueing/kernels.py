"""The event loop of a network of stations, compiled by numba.

Everything is in preallocated arrays, nothing is allocated while time passes.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call,misc,untyped-decorator"
from __future__ import annotations

import math

import numpy as np

from sim.queueing.heaps import ROOT, heap_pop, heap_push, heap_replace
from sim.queueing.jit import Floats, Ints, Words, inlined, kernel, philox, prefetch, service_time, unit

FCFS, PS, DELAY, SINGLE = 0, 1, 2, 3
"""Kinds of stations; SINGLE is one server in order of arrival, whose end of service needs no heap."""

OK, FULL = 0, 1

# Columns of the stations' state, a row per station: seconds of service, variation, servers; customers
# present, attained service and when it was last brought up to date (ps), area below the number present,
# area below the number of busy servers. Areas are kept as sums of times, of ends less beginnings.
MEAN, CV, SERVERS, PRESENT, ATTAINED, SINCE, AREA, BUSY = range(8)
COLUMNS = 8

# The record of a customer, one cache line: when its response began, the service it waits for or the end of
# what it does, the next in the chain it is in, its state, and four random words. The state is the number of
# stations it has entered (16 bits) below the random numbers it has used (closed) or its number (open).
BEGAN, NEED, CHAIN, STATE, WORDS = range(5)
RECORD = 8
ENTERED = 0xFFFF
ONE_MORE = 0x10000

AHEAD = 8
"""Buckets ahead of the wheel whose customers are called from memory: by their turn they are there."""

IN_WHEEL, CURRENT, OVERFLOW = range(3)
"""Of the wheel: events in it, the bucket whose events are in the heap, chain of those beyond its reach."""


@inlined
def _attain(state: Floats, k: int, now: float) -> None:
    """Give the customers of a processor-sharing station what they were served since its last change."""
    passed = now - state[k, SINCE]
    present = state[k, PRESENT]
    if passed > 0.0 and present > 0.0:
        busy = min(present, state[k, SERVERS])
        state[k, BUSY] += busy * passed
        state[k, ATTAINED] += passed * busy / present
    state[k, SINCE] = now


@inlined
def _plan(state: Floats, k: int, first: float, present: int) -> float:
    """When the first customer of a processor-sharing station will be done, as things stand."""
    slow = max(1.0, present / state[k, SERVERS])
    return state[k, SINCE] + max(0.0, first - state[k, ATTAINED]) * slow


@kernel
def _restart(kinds: Ints, state: Floats, now: float, sign: float) -> None:
    """Begin the areas anew at ``now`` (sign -1), or close them (+1)."""
    for k in range(len(kinds)):
        if sign < 0.0:
            if kinds[k] == PS:
                _attain(state, k, now)
            state[k, AREA] = 0.0
            state[k, BUSY] = 0.0
        present = state[k, PRESENT]
        state[k, AREA] += sign * present * now
        if kinds[k] == PS:
            if sign > 0.0:
                _attain(state, k, now)
        else:
            state[k, BUSY] += sign * min(present, state[k, SERVERS]) * now


@inlined
def _to_wheel(
    end: float, slot: int, inverse: float, wheel: Ints, turning: Ints, reals: Floats, whole: Ints
) -> bool:
    """Chain an event into its bucket; False when it is near and belongs into the heap.

    The bucket of a time is its product with a power of two, rounded down: exact, so that no event comes
    out of order.
    """
    bucket = int(end * inverse)
    if bucket <= turning[CURRENT]:
        return False
    mine = RECORD * slot
    reals[mine + NEED] = end
    turning[IN_WHEEL] += 1
    if bucket - turning[CURRENT] >= len(wheel):
        whole[mine + CHAIN] = turning[OVERFLOW]
        turning[OVERFLOW] = slot
    else:
        place = bucket & (len(wheel) - 1)
        whole[mine + CHAIN] = wheel[place]
        wheel[place] = slot
    return True


@kernel
def _turn(
    times: Floats, who: Ints, inverse: float, wheel: Ints, turning: Ints, reals: Floats, whole: Ints
) -> int:
    """Turn an empty heap's wheel to the next bucket that holds events; returns their number."""
    pending = 0
    while pending == 0:
        turning[CURRENT] += 1
        place = turning[CURRENT] & (len(wheel) - 1)
        slot = wheel[place]
        wheel[place] = -1
        ahead = wheel[(place + AHEAD) & (len(wheel) - 1)]
        if ahead >= 0:
            prefetch(reals, RECORD * ahead)
        while slot >= 0:
            following = whole[RECORD * slot + CHAIN]
            pending = heap_push(times, who, pending, reals[RECORD * slot + NEED], slot)
            slot = following
        turning[IN_WHEEL] -= pending
        if place == 0:  # once round: what was beyond reach may be within it now
            slot = turning[OVERFLOW]
            turning[OVERFLOW] = -1
            while slot >= 0:
                following = whole[RECORD * slot + CHAIN]
                turning[IN_WHEEL] -= 1
                end = reals[RECORD * slot + NEED]
                if not _to_wheel(end, slot, inverse, wheel, turning, reals, whole):
                    pending = heap_push(times, who, pending, end, slot)
                slot = following
    return pending


@kernel
def network(
    closed: bool,
    key0: int,
    key1: int,
    pace: float,
    kinds: Ints,
    state: Floats,
    nexts: Floats,
    warm: int,
    size: int,
    batches: Floats,
    samples: Floats,
    totals: Floats,
    times: Floats,
    who: Ints,
    shared_times: Floats,
    shared_who: Ints,
    shared_size: Ints,
    heads: Ints,
    tails: Ints,
    inverse: float,
    wheel: Ints,
    turning: Ints,
    reals: Floats,
    whole: Ints,
    words: Words,
    counters: Ints,
    drawn: Words,
) -> int:
    """The event loop of a network of stations.

    Args:
        closed: users who think, or arrivals.
        key0: of the random numbers.
        key1: of the random numbers.
        pace: mean think time (closed), or arrivals per second.
        kinds: SINGLE, PS, DELAY or FCFS by station.
        state: see COLUMNS.
        nexts: end of the service at each SINGLE or PS station.
        warm: customers that are not counted.
        size: customers per batch.
        batches: sums of responses.
        samples: every response, when it has room.
        totals: start and end of what is counted, sum of responses, events.
        times, who: heap of the other ends of service and of think times; slot of the customer.
        shared_times, shared_who, shared_size: a heap of attained service per processor-sharing station.
        heads, tails: who is at each SINGLE station, who waits at each FCFS one, as chains.
        inverse: of the width of the wheel's buckets, a power of two; 0 for no wheel.
        wheel: chains of far events; their number a power of two.
        turning: see IN_WHEEL.
        reals, whole, words: one record of eight words per slot, seen in three ways: see BEGAN.
        counters, drawn: block of random words at hand, for arrivals and by station, and the words (open).

    Returns:
        FULL when more customers were present at once than there are slots, else OK.
    """
    stations = len(kinds)
    slots = len(reals) // RECORD
    goal = warm + size * len(batches)
    keep = len(samples) > 0
    done, events, pending = 0, 0, 0
    free = 0
    arrived = 0
    next_arrival = np.inf
    scanned = 0  # stations up to the last with an end of its own
    for k in range(stations):
        heads[k] = -1
        tails[k] = -1
        nexts[k] = np.inf
        if kinds[k] == PS or kinds[k] == SINGLE:
            scanned = k + 1
    if closed:
        for slot in range(slots):
            mine = RECORD * slot
            philox(key0, key1, 1, slot, words, mine + WORDS)
            whole[mine + STATE] = ONE_MORE
            # Without a pause all come at once, but in order.
            end = -pace * math.log(unit(words[mine + WORDS])) if pace > 0.0 else slot * 1e-300
            if not _to_wheel(end, slot, inverse, wheel, turning, reals, whole):
                pending = heap_push(times, who, pending, end, slot)
    else:
        for slot in range(slots):
            whole[RECORD * slot + CHAIN] = slot + 1
        whole[RECORD * (slots - 1) + CHAIN] = -1
        for row in range(stations + 1):
            counters[row] = -1
        philox(key0, key1, 1, 0, drawn, 0)
        counters[0] = 1
        next_arrival = -math.log(unit(drawn[0])) / pace

    while done < goal:
        # What comes next: an end in the heap, an end at a station, an arrival.
        if pending == 0 and turning[IN_WHEEL] > 0:
            pending = _turn(times, who, inverse, wheel, turning, reals, whole)
        now = times[2 * ROOT] if pending > 0 else np.inf
        source = -1
        for k in range(scanned):
            end = nexts[k]
            source = k if end < now else source
            now = min(end, now)
        events += 1
        hole = False  # the first place of the heap is free to be filled
        if next_arrival < now:
            now = next_arrival
            if free < 0:
                return FULL
            slot = free
            free = whole[RECORD * slot + CHAIN]
            whole[RECORD * slot + STATE] = ONE_MORE * arrived
            arrived += 1
            block = (arrived >> 2) + 1
            if counters[0] != block:
                philox(key0, key1, block, 0, drawn, 0)
                counters[0] = block
            next_arrival = now - math.log(unit(drawn[arrived & 3])) / pace
        elif source >= 0:
            state[source, AREA] += now
            if kinds[source] == SINGLE:
                slot = heads[source]
                other = whole[RECORD * slot + CHAIN]
                heads[source] = other
                state[source, PRESENT] -= 1.0
                if other >= 0:
                    nexts[source] = now + reals[RECORD * other + NEED]  # drawn when it came
                else:
                    nexts[source] = np.inf
                    state[source, BUSY] += now
            else:
                _attain(state, source, now)
                base_times, base_who = shared_times[source], shared_who[source]
                slot = base_who[2 * ROOT + 1]
                state[source, ATTAINED] = base_times[2 * ROOT]  # no drift
                count = heap_pop(base_times, base_who, shared_size[source])
                shared_size[source] = count
                state[source, PRESENT] = count
                nexts[source] = _plan(state, source, base_times[2 * ROOT], count) if count > 0 else np.inf
        else:
            slot = who[2 * ROOT + 1]
            hole = True
            k = (whole[RECORD * slot + STATE] & ENTERED) - 1
            if k >= 0:
                state[k, AREA] += now
                state[k, PRESENT] -= 1.0
                if kinds[k] == FCFS and heads[k] >= 0:
                    other = heads[k]
                    heads[k] = whole[RECORD * other + CHAIN]
                    end = now + reals[RECORD * other + NEED]
                    if not _to_wheel(end, other, inverse, wheel, turning, reals, whole):
                        heap_replace(times, who, pending, end, other)
                        hole = False
                else:
                    state[k, BUSY] += now

        mine = RECORD * slot
        at = whole[mine + STATE] & ENTERED
        index = whole[mine + STATE] >> 16
        if at == 0:
            reals[mine + BEGAN] = now
        if at == stations:
            response = now - reals[mine + BEGAN]
            if done >= warm:
                counted = done - warm
                batches[counted // size] += response
                totals[2] += response
                if keep:
                    samples[counted] = response
            done += 1
            if done == warm:
                totals[0] = now
                _restart(kinds, state, now, -1.0)
            if not closed:
                whole[mine + CHAIN] = free
                free = slot
                if hole:
                    pending = heap_pop(times, who, pending)
                continue
            if pace > 0.0:
                if index & 3 == 0:
                    philox(key0, key1, (index >> 2) + 1, slot, words, mine + WORDS)
                end = now - pace * math.log(unit(words[mine + WORDS + (index & 3)]))
                whole[mine + STATE] = (index + 1) << 16
                if _to_wheel(end, slot, inverse, wheel, turning, reals, whole):
                    if hole:
                        pending = heap_pop(times, who, pending)
                elif hole:
                    heap_replace(times, who, pending, end, slot)
                else:
                    pending = heap_push(times, who, pending, end, slot)
                continue
            at = 0
            reals[mine + BEGAN] = now

        # Enter station `at`.
        if closed:
            if index & 3 == 0:
                philox(key0, key1, (index >> 2) + 1, slot, words, mine + WORDS)
            u = unit(words[mine + WORDS + (index & 3)])
            index += 1
        else:
            block = (index >> 2) + 1
            if counters[at + 1] != block:
                philox(key0, key1, block, at + 1, drawn, 4 * (at + 1))
                counters[at + 1] = block
            u = unit(drawn[4 * (at + 1) + (index & 3)])
        whole[mine + STATE] = (index << 16) + at + 1
        need = service_time(u, state[at, MEAN], state[at, CV])
        state[at, AREA] -= now
        kind = kinds[at]
        if kind == SINGLE:
            state[at, PRESENT] += 1.0
            whole[mine + CHAIN] = -1
            if heads[at] < 0:
                heads[at] = slot
                nexts[at] = now + need
                state[at, BUSY] -= now
            else:
                reals[mine + NEED] = need
                whole[RECORD * tails[at] + CHAIN] = slot
            tails[at] = slot
        elif kind == PS:
            _attain(state, at, now)
            base_times, base_who = shared_times[at], shared_who[at]
            count = heap_push(base_times, base_who, shared_size[at], state[at, ATTAINED] + need, slot)
            shared_size[at] = count
            state[at, PRESENT] = count
            nexts[at] = _plan(state, at, base_times[2 * ROOT], count)
        else:
            state[at, PRESENT] += 1.0
            if kind == DELAY or state[at, PRESENT] <= state[at, SERVERS]:
                state[at, BUSY] -= now
                end = now + need
                if not _to_wheel(end, slot, inverse, wheel, turning, reals, whole):
                    if hole:
                        heap_replace(times, who, pending, end, slot)
                        hole = False
                    else:
                        pending = heap_push(times, who, pending, end, slot)
            else:
                reals[mine + NEED] = need
                whole[mine + CHAIN] = -1
                if heads[at] >= 0:
                    whole[RECORD * tails[at] + CHAIN] = slot
                else:
                    heads[at] = slot
                tails[at] = slot
        if hole:
            pending = heap_pop(times, who, pending)
    _restart(kinds, state, now, 1.0)
    totals[1] = now
    totals[3] = events
    return OK
