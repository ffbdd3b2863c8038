"""Where requests are served: processor-sharing CPUs under a quota.

A CPU gives every job at most one core and shares its cores evenly when there are more jobs than
cores. Under a CFS quota the jobs of the group run until the quota of the period is used up, then
stand still until the period ends (facts/lab.md: "CFS quotas act per period"). Between two changes
of the job set the attained service is a closed form of time, so throttling costs no events: a
job of 80 ms under a 5 ms quota is one wake-up, not thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy

_TINY = 1e-12


class Job:
    """Work at a CPU.

    Attributes:
        owners: the processes that do it, statement by statement in turn: pausing any stops the job.
        left: seconds of service still to come while the job is paused.
    """

    __slots__ = ("done", "finish", "left", "live", "owners")

    def __init__(self, finish: float, owners: tuple[Any, ...], done: Callable[[], Any]) -> None:
        self.finish = finish
        self.owners = owners
        self.done = done
        self.left = 0.0
        self.live = True


class Alarm:
    """The one wake-up of a station that is to come.

    Args:
        env: the simulation's clock.
        ring: what is called at it.
    """

    def __init__(self, env: simpy.Environment, ring: Callable[[], None]) -> None:
        self._env = env
        self._ring = ring
        self._at = float("inf")
        self._id = 0

    def set(self, at: float) -> None:
        """Wake up at ``at``, unless that is sooner anyway: who is woken too early plans again."""
        if at >= self._at - _TINY:
            return
        self._id += 1
        self._at = at
        event = simpy.Event(self._env)
        event._ok = True
        event._value = self._id
        event.callbacks = [self._wake]
        self._env.schedule(event, delay=max(0.0, at - self._env.now))

    def _wake(self, event: simpy.Event) -> None:
        if event._value == self._id:
            self._at = float("inf")
            self._ring()


class Cpu:
    """One node's CPU, or one control group's share of it.

    Args:
        env: the simulation's clock.
        cores: cores that the jobs may use at once.
        quota: core-seconds per second granted to the group; None for all of `cores`.
        period: length of a quota period in seconds.
    """

    def __init__(
        self, env: simpy.Environment, cores: float, quota: float | None = None, period: float = 0.01
    ) -> None:
        self._env = env
        self._cores = cores
        self._period = period
        self._grant = None if quota is None or quota >= cores else quota * period
        self._attained = 0.0  # service that a job present since the beginning would have got
        self._since = 0.0
        self._boundary = 0.0  # when the current quota period ends
        self._budget = self._grant or 0.0
        self._jobs: list[tuple[float, int, Job]] = []
        self._count = 0
        self._order = 0
        self._alarm = Alarm(env, self._wake)
        self._stopped: set[Any] = set()
        self._held: list[Job] = []
        self.busy = 0.0
        """Core-seconds used so far."""

    @property
    def jobs(self) -> int:
        """Jobs in service now."""
        return self._count

    def submit(self, demand: float, done: Callable[[], Any], *owners: Any) -> Job:
        """Serve ``demand`` core-seconds, then call ``done``; returns its handle."""
        self._advance()
        job = Job(self._attained + demand, owners, done)
        if self._stopped and not self._stopped.isdisjoint(owners):
            job.left = demand
            self._held.append(job)
        else:
            self._enter(job)
        return job

    def work(self, demand: float, *owners: Any) -> simpy.Event:
        """An event that happens when ``demand`` core-seconds have been served."""
        event = simpy.Event(self._env)
        self.submit(demand, event.succeed, *owners)
        return event

    def stalled(self) -> float:
        """Seconds until the group may run again: 0 unless the quota of this period is used up."""
        self._advance()
        now = self._env.now
        if self._grant is None or self._budget > _TINY or now >= self._boundary - _TINY:
            return 0.0
        return self._boundary - now

    def cancel(self, job: Job) -> None:
        """Drop ``job``; harmless when it is done."""
        if not job.live:
            return
        self._advance()
        job.live = False
        if job in self._held:
            self._held.remove(job)
            return
        self._count -= 1
        self._plan()

    def pause(self, owner: Any) -> None:
        """Stop serving the jobs of ``owner`` (SIGSTOP); new ones wait too."""
        self._advance()
        self._stopped.add(owner)
        kept = []
        for entry in sorted(self._jobs):
            job = entry[2]
            if not job.live:
                continue
            if owner in job.owners:
                job.left = max(0.0, job.finish - self._attained)
                self._held.append(job)
            else:
                kept.append(entry)
        self._replace(kept)

    def resume(self, owner: Any) -> None:
        """Go on with the jobs of ``owner`` (SIGCONT)."""
        self._advance()
        self._stopped.discard(owner)
        held, self._held = self._held, []
        for job in held:
            if not self._stopped.isdisjoint(job.owners):
                self._held.append(job)
            elif job.live:
                job.finish = self._attained + job.left
                self._enter(job)

    def drop(self, owner: Any) -> None:
        """Forget all jobs of ``owner``: its process is dead, nobody waits for the results."""
        self._advance()
        self._stopped.discard(owner)
        for job in [*self._held, *(entry[2] for entry in self._jobs)]:
            if owner in job.owners:
                job.live = False
        self._held = [job for job in self._held if job.live]
        self._replace([entry for entry in self._jobs if entry[2].live])

    # -- service as a function of time -------------------------------------------------------

    def _enter(self, job: Job) -> None:
        self._order += 1
        heappush(self._jobs, (job.finish, self._order, job))
        self._count += 1
        self._plan()

    def _replace(self, jobs: list[tuple[float, int, Job]]) -> None:
        self._jobs = sorted(jobs)
        self._count = len(jobs)
        self._plan()

    def _advance(self) -> None:
        now = self._env.now
        if now <= self._since:
            return
        if self._count:
            ran = self._run_time(now)
            self._attained += ran * min(1.0, self._cores / self._count)
            self.busy += ran * min(self._count, self._cores)
        self._since = now

    def _run_time(self, now: float) -> float:
        """Seconds in which the jobs ran between the last change and ``now``; spends the budget."""
        if self._grant is None:
            return now - self._since
        rate = min(float(self._count), self._cores)
        start = self._since
        if start >= self._boundary - _TINY:
            self._open_period(start)
        if now < self._boundary - _TINY:
            ran = min(now - start, self._budget / rate)
            self._budget -= ran * rate
            return ran
        total = min(self._boundary - start, self._budget / rate)
        full = min(self._period, self._grant / rate)
        periods = int((now - self._boundary) / self._period + _TINY)
        total += periods * full
        begin = self._boundary + periods * self._period
        ran = min(max(0.0, now - begin), self._grant / rate)
        self._boundary = begin + self._period
        self._budget = self._grant - ran * rate
        return total + ran

    def _open_period(self, now: float) -> None:
        assert self._grant is not None
        skipped = int((now - self._boundary) / self._period + _TINY) + 1
        self._boundary += skipped * self._period
        self._budget = self._grant

    def _time_to_run(self, seconds: float) -> float:
        """When the jobs, unchanged, will have run for ``seconds`` from now on."""
        now = self._env.now
        if self._grant is None:
            return now + seconds
        rate = min(float(self._count), self._cores)
        if now >= self._boundary - _TINY:
            self._open_period(now)
        here = min(self._boundary - now, self._budget / rate)
        if seconds <= here + _TINY:
            return now + seconds
        seconds -= here
        full = min(self._period, self._grant / rate)
        periods = int(seconds / full)
        rest = seconds - periods * full
        if rest <= _TINY * 10 and periods:
            periods, rest = periods - 1, full
        return self._boundary + periods * self._period + rest

    def _drop_dead(self) -> None:
        while self._jobs and not self._jobs[0][2].live:
            heappop(self._jobs)

    def _plan(self) -> None:
        self._drop_dead()
        if not self._jobs:
            return
        seconds = max(0.0, self._jobs[0][0] - self._attained) * max(1.0, self._count / self._cores)
        self._alarm.set(self._time_to_run(seconds))

    def take_served(self, finished: list[Job]) -> None:
        """Move the jobs that are served to ``finished``, in order."""
        jobs = self._jobs
        limit = self._attained + 1e-10
        while jobs and (not jobs[0][2].live or jobs[0][0] <= limit):
            job = heappop(jobs)[2]
            if job.live:
                job.live = False
                self._count -= 1
                finished.append(job)

    def _wake(self) -> None:
        self._advance()
        finished: list[Job] = []
        self.take_served(finished)
        self._plan()
        for job in finished:
            job.done()
