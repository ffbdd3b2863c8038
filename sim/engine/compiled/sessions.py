"""Redis and its sentinels: the reference's code over the kernels' tables.

The kernels carry the routine (PING, INFO, HELLO) by themselves and hand over to Python when a sentinel
has more to do than to ask, or hears news.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sim.engine import sessions
from sim.engine.compiled import draws, events, sentinels
from sim.engine.compiled import layout as w
from sim.engine.compiled.memory import Table
from sim.engine.compiled.processes import World
from sim.protocols import sentinel
from sim.protocols.sentinel_routine import Routine

_COUNTS = 2
"""Fields of `Routine` that are no tables."""


class Sessions(sessions.Sessions):
    """One monitored primary with its replicas and sentinels.

    Attributes:
        record: where its tables begin.
    """

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        self._memory = world.memory
        super().__init__(world, name, settings)  # type: ignore[arg-type]

    def _new_watch(self, settings: sentinel.Settings) -> sentinel.Watch:
        memory = self._memory
        watch = super()._new_watch(settings)
        names = Routine._fields[_COUNTS:]
        self.record = here = memory.block(w.H_TABLES + len(names))
        memory.i64[here + w.H_SENTINELS] = len(self.sentinels)
        memory.i64[here + w.H_INSTANCES] = len(self.instances)
        memory.f64[here + w.H_DOWN_AFTER] = settings.down_after
        memory.i64[here + w.H_DESYNC] = memory.stream("sentinel.desync", self._name)
        timers = [memory.stream("sentinel.timer", daemon.name) for daemon in self.sentinels]
        memory.i64[here + w.H_TIMERS] = memory.ints(timers)
        for word, daemons in ((w.H_WATCHERS, self.sentinels), (w.H_SERVERS, self.instances)):
            memory.i64[here + word] = memory.ints([daemon.record for daemon in daemons])  # type: ignore[attr-defined]
        kinds = {field.name: "Floats" in str(field.type) for field in fields(watch)}
        for number, name in enumerate(names):
            values, real = getattr(watch, name), kinds[name]
            start = memory.reals(values) if real else memory.ints(values)
            memory.i64[here + w.H_TABLES + number] = start
            setattr(watch, name, Table(memory, start, len(values), real=real))
        return watch

    def _drawn(self, stream: str, entity: str) -> float:
        memory = self._memory
        record = memory.stream(stream, entity)
        index = int(memory.i64[record + w.S_NEXT])
        memory.i64[record + w.S_NEXT] = index + 1
        return float(draws.uniform(memory.i64, memory.f64, record, index))

    def _tick_later(self, index: int, delay: float) -> None:
        memory = self._memory
        events.push(memory.i64, memory.f64, float(delay), w.SENTINEL_TICK, self.record, index)

    def _send_later(self, message: sentinel.Message, delay: float) -> None:
        memory = self._memory
        kind, source, target, to_instance = message[:4]
        note = sentinels.new_note(memory.i64, memory.f64, self.record, kind, source, target, int(to_instance))
        memory.i64[note + w.I_EPOCH] = message.epoch
        memory.i64[note + w.I_CONFIG_EPOCH] = message.config_epoch
        memory.i64[note + w.I_CANDIDATE] = message.candidate
        memory.i64[note + w.I_FLAG] = message.flag
        memory.i64[note + w.I_OFFSET] = message.offset
        memory.f64[note + w.I_LINK_DOWN] = message.link_down
        events.push(memory.i64, memory.f64, float(delay), w.SENTINEL_MESSAGE, note, 0)

    def tick(self, index: int) -> None:
        """A tick that the kernels leave to Python."""
        self._tick(index)

    def arrived(self, note: int) -> None:
        """A message that the kernels leave to Python."""
        memory = self._memory
        words = (w.I_KIND, w.I_SOURCE, w.I_TARGET, w.I_TO_INSTANCE, w.I_EPOCH, w.I_CONFIG_EPOCH)
        more = (w.I_CANDIDATE, w.I_FLAG, w.I_OFFSET)
        values: list[Any] = [int(memory.i64[note + word]) for word in (*words, *more)]
        values.append(float(memory.f64[note + w.I_LINK_DOWN]))
        message = sentinel.Message(*values)
        events.give(memory.i64, memory.f64, w.FREE_NOTE, note)
        self._arrive(message)
