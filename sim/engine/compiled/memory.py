"""The memory as Python sees it: making records, growing it, tables that look like lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sim.engine.compiled import layout as w
from sim.engine.compiled.jit import Floats, Ints
from sim.random import key_of

WORDS = 1 << 20
"""To begin with: what a deployment of a few sites needs. The system gives pages only to what is used."""


class Memory:
    """One run's words.

    Attributes:
        i64: as integers.
        f64: the same words as reals.
        seed: of the run's random streams.
    """

    def __init__(self, seed: int, margin: int) -> None:
        self.seed = seed
        self.i64: Ints = np.zeros(WORDS, dtype=np.int64)
        self.f64: Floats = self.i64.view(np.float64)
        self._streams: dict[tuple[str, str], int] = {}
        self.i64[w.TOP] = w.HEADER_WORDS
        self.i64[w.END] = len(self.i64)
        self.i64[w.MARGIN] = margin
        self.i64[w.ROOM] = 8 * margin
        events = 1 << (4 * margin).bit_length()
        self.i64[w.HEAP], self.i64[w.HEAP_CAP] = self.block(events * w.HEAP_ENTRY), events
        self.i64[w.FIFO], self.i64[w.FIFO_MASK] = self.block(events * w.QUEUE_ENTRY), events - 1
        self.i64[w.URGENT], self.i64[w.URGENT_MASK] = self.block(events * w.QUEUE_ENTRY), events - 1
        self.i64[w.ROWS] = self.block(w.ROWS_CAP * w.ROW_WORDS)
        self.i64[w.AUDIT] = self.block(w.AUDIT_CAP * 2)
        self.i64[w.LOG] = self.block(w.LOG_CAP * 4)

    def block(self, words: int) -> int:
        """The first of ``words`` fresh, zeroed words."""
        start = int(self.i64[w.TOP])
        self.reserve(words)
        self.i64[w.TOP] = start + words
        return start

    def reserve(self, words: int) -> None:
        """Have room for ``words`` more words."""
        needed = int(self.i64[w.TOP]) + words
        if needed <= len(self.i64):
            return
        fresh = np.zeros(max(needed, 2 * len(self.i64)), dtype=np.int64)
        fresh[: len(self.i64)] = self.i64
        self.i64, self.f64 = fresh, fresh.view(np.float64)
        self.i64[w.END] = len(fresh)

    def ints(self, values: Sequence[int]) -> int:
        """A table of integers."""
        start = self.block(len(values))
        self.i64[start : start + len(values)] = values
        return start

    def reals(self, values: Sequence[float]) -> int:
        """A table of reals."""
        start = self.block(len(values))
        self.f64[start : start + len(values)] = values
        return start

    def stream(self, name: str, entity: str) -> int:
        """The record of a named random stream; the same on every call."""
        found = self._streams.get((name, entity))
        if found is None:
            found = self._streams[name, entity] = self.block(w.S_WORDS)
            keys = key_of(self.seed, name, entity).view(np.int64)
            self.i64[found + w.S_KEY0], self.i64[found + w.S_KEY1] = keys[0], keys[1]
            self.i64[found + w.S_COUNTER] = -1
        return found

    def make_room(self) -> None:
        """Grow whatever has become too small for the next event."""
        margin = int(self.i64[w.MARGIN])
        if self.i64[w.HEAP_CAP] - self.i64[w.HEAP_LEN] <= margin:
            old, length, events = (
                int(self.i64[w.HEAP]),
                int(self.i64[w.HEAP_LEN]),
                2 * int(self.i64[w.HEAP_CAP]),
            )
            new = self.block(events * w.HEAP_ENTRY)
            words = length * w.HEAP_ENTRY
            self.i64[new : new + words] = self.i64[old : old + words]
            self.i64[w.HEAP], self.i64[w.HEAP_CAP] = new, events
        for queue, mask, head, tail in (
            (w.FIFO, w.FIFO_MASK, w.FIFO_HEAD, w.FIFO_TAIL),
            (w.URGENT, w.URGENT_MASK, w.URGENT_HEAD, w.URGENT_TAIL),
        ):
            waiting = int(self.i64[tail] - self.i64[head])
            if self.i64[mask] - waiting > margin:
                continue
            old, events = int(self.i64[queue]), 2 * (int(self.i64[mask]) + 1)
            new = self.block(events * w.QUEUE_ENTRY)
            for k in range(waiting):
                place = old + int((self.i64[head] + k) & self.i64[mask]) * w.QUEUE_ENTRY
                there = new + k * w.QUEUE_ENTRY
                self.i64[there : there + w.QUEUE_ENTRY] = self.i64[place : place + w.QUEUE_ENTRY]
            self.i64[queue], self.i64[mask], self.i64[head], self.i64[tail] = new, events - 1, 0, waiting
        self.reserve(2 * int(self.i64[w.ROOM]))


class Table(Sequence[float]):
    """Words of the memory as a list of fixed length."""

    __slots__ = ("_length", "_memory", "_real", "_start")

    def __init__(self, memory: Memory, start: int, length: int, *, real: bool = False) -> None:
        self._memory = memory
        self._start = start
        self._length = length
        self._real = real

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self._length))]
        if not 0 <= index < self._length:
            raise IndexError(index)
        if self._real:
            return float(self._memory.f64[self._start + index])
        return int(self._memory.i64[self._start + index])

    def __setitem__(self, index: int, value: float) -> None:
        if not 0 <= index < self._length:
            raise IndexError(index)
        if self._real:
            self._memory.f64[self._start + index] = value
        else:
            self._memory.i64[self._start + index] = value

    def __iter__(self) -> Iterator[float]:
        return (self[index] for index in range(self._length))
