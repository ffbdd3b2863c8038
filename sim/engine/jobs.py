"""Background jobs of the identity service: one scheduler thread per replica, no lock between replicas.

Replicas read the same page of expired tokens and delete them one by one, each in a transaction of its own;
what goes wrong with a row is swallowed, and the next one is tried (facts/iam.md 2.3).
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any

import simpy

from sim.engine.cleanup import CleanUp
from sim.engine.database import DatabaseError
from sim.engine.service import Call, Plan, Replica, Tokens
from sim.jobs import JobTables
from sim.protocols.expiry import NOTHING
from sim.steps import READ, Row

Steps = Generator[simpy.Event, Any, Any]


class Scheduler:
    """The thread of one replica that runs its background jobs, one at a time."""

    def __init__(self, replica: Replica, jobs: JobTables, plan: Plan, clean_up: CleanUp) -> None:
        self._replica = replica
        self._world = replica.world
        self._jobs = jobs
        self._rows = plan.rows
        self._clean_up = clean_up
        self._page = f"page of {replica.name}"
        self._due: list[float] = []
        # Replicas were started one after the other, before the load.
        up_for = self._world.streams.get("jobs", replica.name).uniform(0) * float(jobs.period.max())
        self._start(jobs.due(up_for))
        replica.on_change.append(self._changed)

    def _start(self, waits: list[float]) -> None:
        env = self._world.env
        self._due = [env.now + wait for wait in waits]
        self._process = env.process(self._run())

    def _changed(self) -> None:
        """A new process has a scheduler of its own."""
        if self._replica.up and not self._process.is_alive:
            self._start(self._jobs.due(0.0))

    def _run(self) -> Steps:
        env, replica, due = self._world.env, self._replica, self._due
        process = self._process
        replica.inside[process] = None
        try:
            while True:
                job = min(range(len(due)), key=due.__getitem__)
                yield env.timeout(max(0.0, due[job] - env.now))
                yield from replica.until_running()
                yield from self._carry_out(job)
                due[job] = env.now + float(self._jobs.period[job])
        except simpy.Interrupt:
            return  # the process is dead
        finally:
            replica.inside.pop(process, None)

    def _carry_out(self, job: int) -> Steps:
        """One run; an error outside the deletes ends it."""
        jobs = self._jobs
        for part in range(int(jobs.part_first[job]), int(jobs.part_first[job + 1])):
            if int(jobs.rows[part]) == NOTHING:
                done = yield from self._do(f"job {jobs.gone[part]}")
            else:
                done = yield from self._clean(job, part)
            if not done:
                return

    def _clean(self, job: int, part: int) -> Steps:
        """Delete rows, page by page, until there is none left or the time is over; False on an error."""
        jobs, env, member = self._jobs, self._world.env, self._replica.member
        which, began = int(jobs.rows[part]), env.now
        for _ in range(int(jobs.pages[job])):
            if not env.now - began < jobs.budget[job]:
                break
            found = self._clean_up.page(member, which, int(jobs.page[job]))
            trips = 1 + int(jobs.load[part]) * len(found)
            app, db = (float(cost) * trips for cost in jobs.select)
            self._rows[self._page] = [Row(READ, trips, app, db, points=trips)]
            done = yield from self._do(self._page)
            if not done:
                return False
            if not found:
                break
            for number in found:
                there = self._clean_up.exists(member, which, number)
                place = (jobs.remove if there else jobs.gone)[part]
                yield from self._do(f"job {place}", which, number)
        return True

    def _do(self, kind: str, cleans: int = NOTHING, deletes: int = 0) -> Steps:
        """Carry out the steps of ``kind``; whether without an error."""
        call = Call(kind, Tokens(), 1.0, 1.0, inf, self._world.env.event())
        call.cleans, call.deletes = cleans, deletes
        try:
            yield from self._replica.run(call, self._process)
        except DatabaseError:
            return False
        except simpy.Interrupt as interrupt:
            if interrupt.cause is self._replica:
                raise
            return False
        return True
