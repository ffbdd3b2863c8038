"""Memory and events: records, the heap of what is to happen, the queues of what happens now.

Events come out as SimPy's do: by time, then urgent ones, then in the order in which they were put
in. What happens now needs no heap: urgent events and those without delay wait in two queues.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from sim.engine.compiled import layout as w
from sim.engine.compiled.jit import Floats, Ints, entry, kernel


@kernel
def allocate(i64: Ints, f64: Floats, words: int) -> int:
    """A fresh block of zeroed words."""
    start = i64[w.TOP]
    i64[w.TOP] = start + words
    return start


@kernel
def take(i64: Ints, f64: Floats, free: int, words: int) -> int:
    """A record from the free list whose head is word ``free``, or a fresh one; the link is its first word."""
    found = i64[free]
    if found:
        i64[free] = i64[found]
        i64[found] = 0
        return found
    return allocate(i64, f64, words)


@entry
def give(i64: Ints, f64: Floats, free: int, record: int) -> None:
    """Put a record back on its free list."""
    i64[record] = i64[free]
    i64[free] = record


@entry
def node(i64: Ints, f64: Floats, a: int, b: int, c: int) -> int:
    """A list node."""
    found = take(i64, f64, w.FREE_NODE, w.N_WORDS)
    i64[found + w.N_NEXT] = 0
    i64[found + w.N_A] = a
    i64[found + w.N_B] = b
    i64[found + w.N_C] = c
    return found


@entry
def append(i64: Ints, f64: Floats, head: int, item: int) -> None:
    """Put ``item``, linked by its first word, at the end of the list at ``head`` (first, last)."""
    i64[item] = 0
    if i64[head]:
        i64[i64[head + 1]] = item
    else:
        i64[head] = item
    i64[head + 1] = item


@entry
def push(i64: Ints, f64: Floats, delay: float, code: int, a: int, b: int) -> None:
    """Schedule an event ``delay`` seconds from now, after those already scheduled for that moment."""
    now = f64[w.NOW]
    at = now + delay
    order = i64[w.SEQ]
    i64[w.SEQ] = order + 1
    if at == now:
        place = i64[w.FIFO] + (i64[w.FIFO_TAIL] & i64[w.FIFO_MASK]) * w.QUEUE_ENTRY
        i64[w.FIFO_TAIL] += 1
        i64[place] = order
        i64[place + 1] = code
        i64[place + 2] = a
        i64[place + 3] = b
        return
    base = i64[w.HEAP]
    i = i64[w.HEAP_LEN]
    i64[w.HEAP_LEN] = i + 1
    while i > 0:
        parent = (i - 1) >> 2
        above = base + parent * w.HEAP_ENTRY
        if f64[above] <= at:
            break  # an earlier one, or one as late that was put in before
        here = base + i * w.HEAP_ENTRY
        f64[here] = f64[above]
        i64[here + 1] = i64[above + 1]
        i64[here + 2] = i64[above + 2]
        i64[here + 3] = i64[above + 3]
        i64[here + 4] = i64[above + 4]
        i = parent
    here = base + i * w.HEAP_ENTRY
    f64[here] = at
    i64[here + 1] = order
    i64[here + 2] = code
    i64[here + 3] = a
    i64[here + 4] = b


@entry
def push_urgent(i64: Ints, f64: Floats, code: int, a: int, b: int) -> None:
    """Schedule an event now, before all others of this moment but urgent ones."""
    place = i64[w.URGENT] + (i64[w.URGENT_TAIL] & i64[w.URGENT_MASK]) * w.QUEUE_ENTRY
    i64[w.URGENT_TAIL] += 1
    i64[place] = 0
    i64[place + 1] = code
    i64[place + 2] = a
    i64[place + 3] = b


@kernel
def drop_top(i64: Ints, f64: Floats) -> None:
    """Take the earliest event off the heap."""
    base = i64[w.HEAP]
    length = i64[w.HEAP_LEN] - 1
    i64[w.HEAP_LEN] = length
    if length == 0:
        return
    last = base + length * w.HEAP_ENTRY
    at = f64[last]
    order = i64[last + 1]
    i = 0
    while True:
        child = 4 * i + 1
        if child >= length:
            break
        end = min(child + 4, length)
        best = child
        place = base + child * w.HEAP_ENTRY
        best_at = f64[place]
        best_order = i64[place + 1]
        for other in range(child + 1, end):
            place = base + other * w.HEAP_ENTRY
            if f64[place] < best_at or (f64[place] == best_at and i64[place + 1] < best_order):
                best = other
                best_at = f64[place]
                best_order = i64[place + 1]
        if at < best_at or (at == best_at and order < best_order):
            break
        here = base + i * w.HEAP_ENTRY
        place = base + best * w.HEAP_ENTRY
        f64[here] = best_at
        i64[here + 1] = best_order
        i64[here + 2] = i64[place + 2]
        i64[here + 3] = i64[place + 3]
        i64[here + 4] = i64[place + 4]
        i = best
    here = base + i * w.HEAP_ENTRY
    f64[here] = at
    i64[here + 1] = order
    i64[here + 2] = i64[last + 2]
    i64[here + 3] = i64[last + 3]
    i64[here + 4] = i64[last + 4]


@kernel
def wait_on(i64: Ints, f64: Floats, head: int, code: int, who: int, token: int) -> None:
    """Have event ``code`` of ``who`` dispatched when the list at ``head`` is woken."""
    append(i64, f64, head, node(i64, f64, code, who, token))


@entry
def broadcast(i64: Ints, f64: Floats, head: int) -> None:
    """Wake everybody on the list at ``head``, in one event; who waits from now on waits for the next."""
    first = i64[head]
    i64[head] = 0
    i64[head + 1] = 0
    if first:
        push(i64, f64, 0.0, w.BROADCAST, first, 0)


@kernel
def log(i64: Ints, f64: Floats, component: int, kind: int, detail: int) -> None:
    """Note a component's event; Python puts it into words."""
    place = i64[w.LOG] + i64[w.LOG_LEN] * 4
    i64[w.LOG_LEN] += 1
    f64[place] = f64[w.NOW]
    i64[place + 1] = component
    i64[place + 2] = kind
    i64[place + 3] = detail
