"""A machine whose cores several control groups share: all sites of a lab run on one.

Linux shares cores among runnable groups of equal weight evenly, and what a group cannot use goes to
the others (sched-design-CFS); a group whose quota of the period is used up is not runnable until the
period ends (sched-bwc). A group can use no more cores than it has jobs. Between two changes of the job
sets, spent budgets or new periods every group gets a constant number of cores, so the machine needs
one wake-up at a time, whatever it carries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import simpy

from sim.engine.stations import Alarm, Cpu, Job

_NEAR = 1e-10
"""Seconds that count as none: more than the rounding of a day's clock, less than any work."""


def water_level(demands: Sequence[float], cores: float) -> float:
    """Cores that nobody exceeds when ``cores`` are shared max-min fairly among more ``demands`` than that."""
    level, above = 0.0, -1
    while True:
        rest, more = cores, 0
        for demand in demands:
            if demand <= level:
                rest -= demand
            else:
                more += 1
        if more in (above, 0):
            return level
        level, above = rest / more, more


class Share(Cpu):
    """One control group of a machine: a `Cpu` whose jobs run as fast as the other groups let them.

    Attributes:
        rate: cores that its jobs use now, together.
    """

    def __init__(
        self, env: simpy.Environment, machine: Machine, cores: float, quota: float | None, period: float
    ) -> None:
        super().__init__(env, cores, quota, period)
        self._boundary = period
        self._machine = machine
        self.rate = 0.0

    def demand(self) -> float:
        """Cores that it could use now."""
        if not self._count or (self._grant is not None and not self._budget):
            return 0.0
        return min(float(self._count), self._cores)

    def run(self, since: float, now: float) -> None:
        """Serve the jobs between two moments in which nothing changed."""
        if self._count:
            gain = (now - since) * self.rate
            self._attained += gain / self._count
            self.busy += gain
        if self._grant is None:
            return
        if now >= self._boundary - _NEAR:
            periods = int((now - self._boundary + _NEAR) / self._period)
            since = self._boundary + periods * self._period
            self._boundary = since + self._period
            self._budget = self._grant
        self._budget -= max(0.0, now - since) * self.rate
        if self._budget <= _NEAR:
            self._budget = 0.0

    def next_change(self, now: float) -> float:
        """When a job is served, the budget spent or a period begun that is waited for."""
        self._drop_dead()
        if not self._jobs:
            return math.inf
        if not self.rate:
            return self._boundary
        at = now + max(0.0, self._jobs[0][0] - self._attained) * self._count / self.rate
        if self._grant is not None:
            spent = now + self._budget / self.rate
            if spent >= self._boundary:
                whole = self._grant < self.rate * self._period
                spent = self._boundary + self._grant / self.rate if whole else math.inf
            at = min(at, spent)
        return at

    def _advance(self) -> None:
        self._machine.advance()

    def _plan(self) -> None:
        self._machine.plan()


class Machine:
    """A machine's cores and the groups that share them.

    Args:
        env: the simulation's clock.
        cores: what there is to share.
    """

    def __init__(self, env: simpy.Environment, cores: float) -> None:
        self._env = env
        self._cores = cores
        self._since = 0.0
        self._shares: list[Share] = []
        self._alarm = Alarm(env, self._wake)

    def share(self, cores: float, quota: float | None = None, period: float = 0.01) -> Share:
        """A new group of this machine; the arguments are those of `Cpu`."""
        made = Share(self._env, self, cores, quota, period)
        self._shares.append(made)
        return made

    def advance(self) -> None:
        """Bring all groups up to now."""
        now = self._env.now
        if now <= self._since:
            return
        for share in self._shares:
            share.run(self._since, now)
        self._since = now

    def plan(self) -> None:
        """Share the cores out anew, and wake up when that changes next."""
        demands = [share.demand() for share in self._shares]
        total = 0.0
        for demand in demands:  # one by one: `sum` rounds in its own way
            total += demand
        level = math.inf if total <= self._cores else water_level(demands, self._cores)
        at = math.inf
        for share, demand in zip(self._shares, demands, strict=True):
            share.rate = min(demand, level)
            at = min(at, share.next_change(self._env.now))
        self._alarm.set(at)

    def _wake(self) -> None:
        self.advance()
        finished: list[Job] = []
        for share in self._shares:
            share.take_served(finished)
        self.plan()
        for job in finished:
            job.done()
