"""Background jobs as the control plane sees them: tables in the memory, a scheduler per replica."""

from __future__ import annotations

from sim.engine.compiled import jobs as kernels
from sim.engine.compiled import layout as w
from sim.engine.compiled.cleanup import COLUMNS
from sim.engine.compiled.databases import Database
from sim.engine.compiled.memory import Memory
from sim.engine.compiled.processes import Replica
from sim.jobs import JobTables
from sim.protocols import expiry


def lay_out(memory: Memory, jobs: JobTables, lifetime: float, database: Database) -> None:
    """Put the jobs' tables, and those of what they clean up in ``database``, into the memory."""
    count, parts = len(jobs.period), len(jobs.rows)
    memory.i64[w.JOB_COUNT] = count
    memory.i64[w.JOBS] = memory.block((count + 1) * w.JOB_WORDS)
    for number in range(count):
        at = int(memory.i64[w.JOBS]) + number * w.JOB_WORDS
        memory.f64[at + w.JOB_PERIOD], memory.f64[at + w.JOB_BUDGET] = (
            jobs.period[number],
            jobs.budget[number],
        )
        memory.i64[at + w.JOB_PAGE], memory.i64[at + w.JOB_PAGES] = jobs.page[number], jobs.pages[number]
    for number in range(count + 1):
        memory.i64[int(memory.i64[w.JOBS]) + number * w.JOB_WORDS + w.JOB_PART] = jobs.part_first[number]
    memory.i64[w.PARTS] = memory.block(parts * w.PART_WORDS)
    for number in range(parts):
        at = int(memory.i64[w.PARTS]) + number * w.PART_WORDS
        memory.i64[at + w.PART_ROWS], memory.i64[at + w.PART_LOAD] = jobs.rows[number], jobs.load[number]
        memory.i64[at + w.PART_GONE], memory.i64[at + w.PART_REMOVE] = jobs.gone[number], jobs.remove[number]
    pairs = zip(jobs.issues.tolist(), jobs.replaces.tolist(), strict=True)
    memory.i64[w.ISSUES] = memory.ints([value for pair in pairs for value in pair])
    memory.f64[w.LIFETIME] = lifetime
    memory.f64[w.SELECT_APP], memory.f64[w.SELECT_DB] = jobs.select
    for word in (w.E_TOKENS, w.E_HOLDERS):
        table = memory.i64[database.record + word] = memory.block(w.F_WORDS)
        memory.i64[table + w.F_FIRST] = memory.i64[table + w.F_NEXT] = 1
        memory.i64[table + w.F_CAP] = expiry.CAPACITY
        memory.i64[table + w.F_COLUMNS] = memory.block(COLUMNS * expiry.CAPACITY)
    memory.i64[w.ROOM] = max(int(memory.i64[w.ROOM]), 4 * expiry.CAPACITY * COLUMNS)


class Scheduler:
    """The thread of one replica that runs its background jobs.

    Args:
        replica: whose.
        jobs: all of them.
        kind: place in the step tables that is its own, for the page that it reads.
        step: the row of the step tables there.
    """

    def __init__(self, replica: Replica, jobs: JobTables, kind: int, step: int) -> None:
        self._replica = replica
        self._jobs = jobs
        memory = self._memory = replica.memory
        state = self._state = memory.block(w.BG_WORDS)
        call = self._call = memory.block(w.C_WORDS)
        memory.i64[state + w.BG_DUE] = memory.block(len(jobs.period))
        memory.i64[state + w.BG_FOUND] = memory.block(int(jobs.page.max()))
        memory.i64[state + w.BG_KIND], memory.i64[state + w.BG_STEP] = kind, step
        memory.i64[call + w.C_ORIGIN], memory.i64[call + w.C_WHO] = w.SCHEDULER, state
        memory.i64[call + w.C_REPLICA] = replica.record
        memory.i64[call + w.C_MEMBER] = memory.i64[replica.record + w.R_MEMBER]
        memory.f64[call + w.C_APP] = memory.f64[call + w.C_DB] = 1.0
        memory.i64[call + w.C_OUTCOME] = -1
        draw = replica.world.streams.get("jobs", replica.name).uniform(0)
        self._start(jobs.due(draw * float(jobs.period.max())))
        replica.on_change.append(self._changed)

    def _start(self, waits: list[float]) -> None:
        memory, now = self._memory, float(self._memory.f64[w.NOW])
        due = int(memory.i64[self._state + w.BG_DUE])
        for number, wait in enumerate(waits):
            memory.f64[due + number] = now + wait
        kernels.begin(memory.i64, memory.f64, self._call)

    def _changed(self) -> None:
        """A new process has a scheduler of its own."""
        if self._replica.up and not self._memory.i64[self._state + w.BG_RUNS]:
            self._start(self._jobs.due(0.0))
