"""The compiled engine: the reference's simulation with the same answers, many times as fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from experiments.faults import ScheduledFault
from experiments.observation import OUTCOMES, Audit, Event, Observation
from experiments.samples import Samples
from sim.engine import reference
from sim.engine.compiled import events as kernels
from sim.engine.compiled import layout as w
from sim.engine.compiled import loop
from sim.engine.compiled.deployment import Deployment
from sim.engine.compiled.supports import supports
from sim.program import Program
from sim.steps import KINDS

_OPEN = frozenset(number for number, name in enumerate(OUTCOMES) if name in reference._OPEN)
_SOURCES = ("load", "probe")
_LOG = {
    w.LOG_SERVER_UP: "haproxy.server-up",
    w.LOG_SERVER_DOWN: "haproxy.server-down",
    w.LOG_DNS_UP: "dns.up",
    w.LOG_DNS_DOWN: "dns.down",
}


_Columns = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int16], NDArray[np.int16]]
"""Start, latency, status, and the codes of `_CODES` in rows: a third of what the kernels' rows take."""

_CODES = (w.ROW_SOURCE, w.ROW_SITE, w.ROW_KIND, w.ROW_OUTCOME, w.ROW_FRONT_END)


def _columns(rows: NDArray[np.int64]) -> _Columns:
    real = rows.view(np.float64)
    return (
        real[:, w.ROW_START].copy(),
        real[:, w.ROW_LATENCY].copy(),
        rows[:, w.ROW_STATUS].astype(np.int16),
        np.ascontiguousarray(rows[:, _CODES].T, dtype=np.int16),
    )


_NO_ROWS = _columns(np.zeros((0, w.ROW_WORDS), dtype=np.int64))


def _fates(outcome: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of writes: how many acknowledged, of those lost, in doubt, of those found committed."""
    ok, doubtful = outcome == w.OK, np.isin(outcome, sorted(_OPEN))
    return np.array([ok.sum(), (ok & ~kept).sum(), doubtful.sum(), (doubtful & kept).sum()])


class Simulation(reference.Simulation):
    """One run of one program, compiled.

    Attributes:
        keep_rows: whether every request is noted, or only counted.
    """

    keep_rows = True

    def _open(self, program: Program, seed: int) -> None:
        reason = supports(program)
        if reason:
            raise ValueError(reason)
        self._model = Deployment(program, seed, keep_rows=self.keep_rows)
        self._deployment: Any = self._model
        self._undo.clear()
        self._windows.clear()
        self._chunks: list[_Columns] = []
        self._writes = np.zeros((0, 2), dtype=np.int64)
        self._counts = np.zeros(4, dtype=np.int64)
        for data in program.faults:
            scheduled = TypeAdapter(ScheduledFault).validate_python(data)
            self._model.world.at(
                scheduled.at,
                lambda scheduled=scheduled: self._carry_out(scheduled),  # type: ignore[misc]
            )

    def run_until(self, at: float) -> None:
        """Carry out everything that happens before or at ``at`` (seconds)."""
        world, memory = self._model.world, self._model.memory
        until = float(at)
        while True:
            why = loop.run(memory.i64, memory.f64, until)
            if memory.i64[w.LOG_LEN]:
                self._drain_log()
            if why == w.DONE:
                break
            a, b = int(memory.i64[w.UP_A]), int(memory.i64[w.UP_B])
            if why == w.UP_PYTHON:
                world.carry_out(a)
            elif why == w.UP_ARRIVE:
                self._database(int(memory.i64[b + w.B_DATABASE])).group.arrived(
                    a, int(memory.i64[b + w.B_INDEX])
                )
            elif why == w.UP_TIMER:
                group, index = self._group_of(a)
                group.expired(index, b)
            elif why == w.UP_TICK:
                self._sessions(a).tick(b)
            elif why == w.UP_MESSAGE:
                self._sessions(int(memory.i64[a + w.I_SESSIONS])).arrived(a)
            elif why == w.UP_LOST:
                raise ValueError("a member got a message of the total order before an earlier one")
            elif why == w.UP_ROOM:
                self._drain()
                memory.make_room()
            else:
                self._ask(why, a, b)
        if until > memory.f64[w.NOW]:
            memory.f64[w.NOW] = until

    @property
    def words(self) -> int:
        """64-bit words of memory that the kernels have used; what has been drained is not among them."""
        return int(self._model.memory.i64[w.TOP])

    def _ask(self, why: int, a: int, b: int) -> None:
        """A member whose view is in upheaval broadcasts something."""
        memory = self._model.memory
        if why == w.UP_FLOW:
            group, index = self._group_of(a)
            group.submit(index, 2 * b + 1, loop._STOP_BYTES)
            return
        group, index = self._group_of(b)
        if why == w.UP_CAUSAL:
            group.causal_read(index, int(memory.i64[a + w.C_TICKET]))
        else:
            size = int(memory.i64[w.UP_C])
            payload = 2 * int(memory.i64[a + w.C_TX])
            memory.i64[a + w.C_GOT] = group.submit(index, payload, size)
        memory.i64[w.PROCEED] = a

    def _sessions(self, record: int) -> Any:
        return next(found for found in self._model.sessions if found.record == record)

    def _database(self, record: int) -> Any:
        return next(found for found in self._model.databases.values() if found.record == record)

    def _group_of(self, member: int) -> tuple[Any, int]:
        memory = self._model.memory
        database = self._database(int(memory.i64[member + w.B_DATABASE]))
        return database.group, int(memory.i64[member + w.B_INDEX])

    # -- what a run leaves behind --------------------------------------------------------------

    def _drain_log(self) -> None:
        model, memory = self._model, self._model.memory
        components = model.world.program.components
        for number in range(int(memory.i64[w.LOG_LEN])):
            at = int(memory.i64[w.LOG]) + 4 * number
            kind = int(memory.i64[at + 2])
            who, what = int(memory.i64[at + 1]), int(memory.i64[at + 3])
            if kind in (w.LOG_DNS_UP, w.LOG_DNS_DOWN):
                event = Event(float(memory.f64[at]), model.labels[who], _LOG[kind])
            else:
                event = Event(float(memory.f64[at]), components[who].name, _LOG[kind], components[what].name)
            model.world.recorder.events.append(event)
        memory.i64[w.LOG_LEN] = 0

    def _drain(self) -> None:
        """Take out rows and finished writes."""
        memory = self._model.memory
        self._drain_log()
        rows, start = int(memory.i64[w.ROWS_LEN]), int(memory.i64[w.ROWS])
        if rows:
            words = memory.i64[start : start + rows * w.ROW_WORDS]
            self._chunks.append(_columns(words.reshape(rows, w.ROW_WORDS)))
            memory.i64[w.ROWS_LEN] = 0
        start, length = int(memory.i64[w.AUDIT]), int(memory.i64[w.AUDIT_LEN])
        if length:
            fresh = memory.i64[start : start + 2 * length].reshape(length, 2)
            self._writes = np.concatenate([self._writes, fresh])
            memory.i64[w.AUDIT_LEN] = 0
            self._settle()

    def _settle(self) -> None:
        """Count the writes whose fate is sealed, and forget them: memory must not grow with time."""
        words = self._model.memory.i64
        outcome, tx = self._writes.T
        known = tx > 0
        committed, seqno = words[tx + w.T_COMMITTED] > 0, words[tx + w.T_SEQNO]
        everywhere = min(member.visible for member in self._model.members)
        never = ~committed & ((seqno > 0) | (words[tx + w.T_ANSWER] == w.IDLE))
        final = ~known | (committed & (seqno <= everywhere)) | never
        kept = known & committed & (words[tx + w.T_SURVIVED] > 0)
        self._counts += _fates(outcome[final], kept[final])
        gone = tx[final & known]
        words[gone + w.T_REFERENCES] -= 1
        for free in gone[words[gone + w.T_REFERENCES] == 0]:
            kernels.give(words, self._model.memory.f64, w.FREE_TX, free)
        self._writes = self._writes[~final]

    def events(self) -> list[Event]:
        """Component events so far, ordered by time."""
        self._drain_log()
        return super().events()

    def _audit(self) -> Audit:
        self._drain()
        memory = self._model.memory
        behind = [m.visible for m in self._model.members if not m.serving()]
        writes = self._writes.tolist()
        call = int(memory.i64[w.ALL_CALLS])
        while call:
            may_write = memory.i64[memory.i64[w.WRITING] + memory.i64[call + w.C_KIND]]
            if memory.i64[call + w.C_ALIVE] and may_write:
                writes.append([int(memory.i64[call + w.C_OUTCOME]), int(memory.i64[call + w.C_TX])])
            call = int(memory.i64[call + w.C_ALL])
        outcome, tx = np.array(writes, dtype=np.int64).reshape(len(writes), 2).T
        words = memory.i64
        kept = (tx > 0) & (words[tx + w.T_COMMITTED] > 0) & (words[tx + w.T_SURVIVED] > 0)
        acknowledged, lost, in_doubt, found = (self._counts + _fates(outcome, kept)).tolist()
        divergent = int((kept & (words[tx + w.T_SEQNO] > min(behind))).sum()) if behind else 0
        lookups = f"all {acknowledged + in_doubt} writes, in the model"
        return Audit(acknowledged, lost, divergent, in_doubt, found, lookups)

    def observation(self) -> Observation:
        """Everything seen so far."""
        self._drain()
        program = self._model.world.program
        workload = program.workload
        windows = tuple((start, self.now if end is None else end) for start, end in self._windows.values())
        return Observation.of(
            self._samples(),
            tuple(self._model.world.recorder.events),
            self._audit(),
            workload["duration"],
            workload["warmup"],
            windows,
            self._extra(),
        )

    def _samples(self) -> Samples:
        program = self._model.world.program
        start, latency, status, codes = (
            np.concatenate([part[number] for part in (_NO_ROWS, *self._chunks)], axis=-1)
            for number in range(len(_NO_ROWS))
        )
        self._chunks = [(start, latency, status, codes)]
        source, site, kind, outcome, front_end = codes
        flows = tuple(dict.fromkeys((*KINDS, program.workload["flow"])))
        flow = np.where(source == 0, np.int16(flows.index(program.workload["flow"])), kind)
        names = {
            "source": _SOURCES,
            "site": tuple(program.sites),
            "flow": flows,
            "request": KINDS,
            "outcome": OUTCOMES,
            "front_end": tuple(program.sites),
        }
        by_name = dict(zip(names, (source, site, flow, kind, outcome, front_end), strict=True))
        return Samples(start, latency, status, by_name, names).ordered()


class Counting(Simulation):
    """A run whose requests are counted and forgotten: its memory does not grow with the time simulated."""

    keep_rows = False
