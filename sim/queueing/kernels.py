"""The event loop of a network of stations, compiled by numba.

Everything is in preallocated arrays, nothing is allocated while time passes.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call,misc,untyped-decorator"
from __future__ import annotations

import math

import numpy as np

from sim.queueing.heaps import ROOT, heap_pop, heap_push, heap_replace
from sim.queueing.jit import Floats, Ints, Words, kernel, philox, service_time, unit

FCFS, PS, DELAY = 0, 1, 2
OK, FULL = 0, 1

# Rows of the stations' state: seconds of service, variation, servers; customers present, attained
# service (ps), when it was last brought up to date, when the next customer is done (ps), area below
# the number present, area below the number of busy servers.
MEAN, CV, SERVERS, PRESENT, ATTAINED, SINCE, NEXT, AREA, BUSY = range(9)
ROWS = 9

# The record of a customer, one cache line: when its response began, the service it waits for or the end of
# what it does, the next in the chain it is in, its state, and four random words. The state is the number of
# stations it has entered (16 bits) below the random numbers it has used (closed) or its number (open).
BEGAN, NEED, CHAIN, STATE, WORDS = range(5)
RECORD = 8
ENTERED = 0xFFFF
ONE_MORE = 0x10000

IN_WHEEL, CURRENT, OVERFLOW = range(3)
"""Of the wheel: events in it, the bucket whose events are in the heap, chain of those beyond its reach."""


@kernel
def _bring_up(state: Floats, kinds: Ints, k: int, now: float) -> None:
    """Account for the time since the station's last change."""
    passed = now - state[SINCE, k]
    if passed > 0.0:
        present = state[PRESENT, k]
        servers = state[SERVERS, k]
        state[AREA, k] += present * passed
        if kinds[k] == DELAY or present < servers:
            state[BUSY, k] += present * passed
            state[ATTAINED, k] += passed
        else:
            state[BUSY, k] += servers * passed
            state[ATTAINED, k] += passed * servers / present
        state[SINCE, k] = now


@kernel
def _plan(state: Floats, k: int, first: float, present: int) -> None:
    """When the first customer of a processor-sharing station will be done, as things stand."""
    slow = max(1.0, present / state[SERVERS, k])
    state[NEXT, k] = state[SINCE, k] + max(0.0, first - state[ATTAINED, k]) * slow


@kernel
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
        kinds: FCFS, PS or DELAY by station.
        state: see ROWS.
        warm: customers that are not counted.
        size: customers per batch.
        batches: sums of responses.
        samples: every response, when it has room.
        totals: start and end of what is counted, sum of responses, events.
        times, who: heap of ends of service and of think times; slot of the customer.
        shared_times, shared_who, shared_size: a heap of attained service per processor-sharing station.
        heads, tails: who waits at each station, as chains.
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
    sharing = False
    for k in range(stations):
        heads[k] = -1
        tails[k] = -1
        state[NEXT, k] = np.inf
        sharing = sharing or kinds[k] == PS
    if closed:
        for slot in range(slots):
            mine = RECORD * slot
            philox(key0, key1, 1, slot, words, mine + WORDS)
            whole[mine + STATE] = ONE_MORE
            end = -pace * math.log(unit(words[mine + WORDS])) if pace > 0.0 else 0.0
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
        # What comes next: an end in the heap, an end at a shared station, an arrival.
        if pending == 0 and turning[IN_WHEEL] > 0:
            pending = _turn(times, who, inverse, wheel, turning, reals, whole)
        now = times[2 * ROOT] if pending > 0 else np.inf
        source = -1
        if sharing:
            for k in range(stations):
                if state[NEXT, k] < now:
                    now = state[NEXT, k]
                    source = k
        arriving = next_arrival < now
        events += 1
        hole = False  # the first place of the heap is free to be filled
        if arriving:
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
            _bring_up(state, kinds, source, now)
            base_times, base_who = shared_times[source], shared_who[source]
            slot = base_who[2 * ROOT + 1]
            state[ATTAINED, source] = base_times[2 * ROOT]  # no drift
            count = heap_pop(base_times, base_who, shared_size[source])
            shared_size[source] = count
            state[PRESENT, source] = count
            if count > 0:
                _plan(state, source, base_times[2 * ROOT], count)
            else:
                state[NEXT, source] = np.inf
        else:
            slot = who[2 * ROOT + 1]
            hole = True
            k = (whole[RECORD * slot + STATE] & ENTERED) - 1
            if k >= 0:
                _bring_up(state, kinds, k, now)
                state[PRESENT, k] -= 1.0
                if kinds[k] == FCFS and heads[k] >= 0:
                    other = heads[k]
                    heads[k] = whole[RECORD * other + CHAIN]
                    if heads[k] < 0:
                        tails[k] = -1
                    end = now + reals[RECORD * other + NEED]  # drawn when it came
                    if not _to_wheel(end, other, inverse, wheel, turning, reals, whole):
                        heap_replace(times, who, pending, end, other)
                        hole = False

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
                for k in range(stations):
                    _bring_up(state, kinds, k, now)
                    state[AREA, k] = 0.0
                    state[BUSY, k] = 0.0
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
        k = at
        if closed:
            if index & 3 == 0:
                philox(key0, key1, (index >> 2) + 1, slot, words, mine + WORDS)
            u = unit(words[mine + WORDS + (index & 3)])
            index += 1
        else:
            block = (index >> 2) + 1
            if counters[k + 1] != block:
                philox(key0, key1, block, k + 1, drawn, 4 * (k + 1))
                counters[k + 1] = block
            u = unit(drawn[4 * (k + 1) + (index & 3)])
        whole[mine + STATE] = (index << 16) + at + 1
        need = service_time(u, state[MEAN, k], state[CV, k])
        _bring_up(state, kinds, k, now)
        state[PRESENT, k] += 1.0
        if kinds[k] == PS:
            base_times, base_who = shared_times[k], shared_who[k]
            count = heap_push(base_times, base_who, shared_size[k], state[ATTAINED, k] + need, slot)
            shared_size[k] = count
            _plan(state, k, base_times[2 * ROOT], count)
        elif kinds[k] == DELAY or state[PRESENT, k] <= state[SERVERS, k]:
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
            if tails[k] >= 0:
                whole[RECORD * tails[k] + CHAIN] = slot
            else:
                heads[k] = slot
            tails[k] = slot
        if hole:
            pending = heap_pop(times, who, pending)
    for k in range(stations):
        _bring_up(state, kinds, k, now)
    totals[1] = now
    totals[3] = events
    return OK
