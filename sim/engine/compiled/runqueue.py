"""The jobs of a CPU in the order in which they will be served: a heap that grows."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import allocate, append, give
from sim.engine.compiled.jit import Floats, Ints, kernel

ENTRY = 3  # finish, order, job


@kernel
def enqueue(i64: Ints, f64: Floats, cpu: int, finish: float, order: int, job: int) -> None:
    """Put a job on the heap of those in service."""
    i = i64[cpu + w.Q_HEAP_LEN]
    if i == i64[cpu + w.Q_HEAP_CAP]:
        fresh = allocate(i64, f64, 2 * i * ENTRY)
        old = i64[cpu + w.Q_HEAP]
        for word in range(i * ENTRY):
            i64[fresh + word] = i64[old + word]
        i64[cpu + w.Q_HEAP] = fresh
        i64[cpu + w.Q_HEAP_CAP] = 2 * i
    i64[cpu + w.Q_HEAP_LEN] = i + 1
    base = i64[cpu + w.Q_HEAP]
    while i > 0:
        parent = (i - 1) >> 1
        above = base + parent * ENTRY
        if f64[above] < finish or (f64[above] == finish and i64[above + 1] < order):
            break
        here = base + i * ENTRY
        f64[here] = f64[above]
        i64[here + 1] = i64[above + 1]
        i64[here + 2] = i64[above + 2]
        i = parent
    here = base + i * ENTRY
    f64[here] = finish
    i64[here + 1] = order
    i64[here + 2] = job


@kernel
def dequeue(i64: Ints, f64: Floats, cpu: int) -> int:
    """Take the job that finishes first off the heap."""
    base = i64[cpu + w.Q_HEAP]
    found = i64[base + 2]
    length = i64[cpu + w.Q_HEAP_LEN] - 1
    i64[cpu + w.Q_HEAP_LEN] = length
    if length == 0:
        return found
    last = base + length * ENTRY
    finish = f64[last]
    order = i64[last + 1]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= length:
            break
        place = base + child * ENTRY
        if child + 1 < length:
            right = place + ENTRY
            if f64[right] < f64[place] or (f64[right] == f64[place] and i64[right + 1] < i64[place + 1]):
                child += 1
                place = right
        if finish < f64[place] or (finish == f64[place] and order < i64[place + 1]):
            break
        here = base + i * ENTRY
        f64[here] = f64[place]
        i64[here + 1] = i64[place + 1]
        i64[here + 2] = i64[place + 2]
        i = child
    here = base + i * ENTRY
    f64[here] = finish
    i64[here + 1] = order
    i64[here + 2] = i64[last + 2]
    return found


@kernel
def drop_dead(i64: Ints, f64: Floats, cpu: int) -> None:
    """Take cancelled jobs off the top of the heap."""
    while i64[cpu + w.Q_HEAP_LEN] and not i64[i64[i64[cpu + w.Q_HEAP] + 2] + w.J_LIVE]:
        give(i64, f64, w.FREE_JOB, dequeue(i64, f64, cpu))


@kernel
def take_served(i64: Ints, f64: Floats, cpu: int, head: int) -> None:
    """Move the jobs that are served to the list at ``head``, in order."""
    limit = f64[cpu + w.Q_ATTAINED] + 1e-10
    while i64[cpu + w.Q_HEAP_LEN]:
        job = i64[i64[cpu + w.Q_HEAP] + 2]
        if not i64[job + w.J_LIVE]:
            give(i64, f64, w.FREE_JOB, dequeue(i64, f64, cpu))
            continue
        if f64[i64[cpu + w.Q_HEAP]] > limit:
            return
        dequeue(i64, f64, cpu)
        i64[job + w.J_LIVE] = 0
        i64[cpu + w.Q_COUNT] -= 1
        append(i64, f64, head, job)


@kernel
def take_list(i64: Ints, f64: Floats, head: int) -> int:
    """The first of the list at ``head``, which is empty then."""
    first = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    return first
