"""Machines whose cores CPUs share: `sim.engine.machines`, statement for statement."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import push
from sim.engine.compiled.jit import Floats, Ints, kernel
from sim.engine.compiled.runqueue import drop_dead, take_list, take_served

_TINY = 1e-12
_NEAR = 1e-10


@kernel
def demand(i64: Ints, f64: Floats, cpu: int) -> float:
    """Cores that a group could use now."""
    count = i64[cpu + w.Q_COUNT]
    if count == 0 or (f64[cpu + w.Q_GRANT] >= 0.0 and f64[cpu + w.Q_BUDGET] == 0.0):
        return 0.0
    return min(float(count), f64[cpu + w.Q_CORES])


@kernel
def water_level(i64: Ints, f64: Floats, machine: int, cores: float) -> float:
    """Cores that nobody exceeds when ``cores`` are shared max-min fairly among groups that want more."""
    level = 0.0
    above = -1
    while True:
        rest = cores
        more = 0
        cpu = i64[machine + w.MC_FIRST]
        while cpu:
            wanted = f64[cpu + w.Q_RATE]
            if wanted <= level:
                rest -= wanted
            else:
                more += 1
            cpu = i64[cpu + w.Q_NEXT]
        if more in (above, 0):
            return level
        level = rest / more
        above = more


@kernel
def run_group(i64: Ints, f64: Floats, cpu: int, since: float, now: float) -> None:
    """Serve a group's jobs between two moments in which nothing changed."""
    rate = f64[cpu + w.Q_RATE]
    count = i64[cpu + w.Q_COUNT]
    if count:
        gain = (now - since) * rate
        f64[cpu + w.Q_ATTAINED] += gain / count
        f64[cpu + w.Q_BUSY] += gain
    grant = f64[cpu + w.Q_GRANT]
    if grant < 0.0:
        return
    start = since
    boundary = f64[cpu + w.Q_BOUNDARY]
    if now >= boundary - _NEAR:
        period = f64[cpu + w.Q_PERIOD]
        periods = int((now - boundary + _NEAR) / period)
        start = boundary + periods * period
        f64[cpu + w.Q_BOUNDARY] = start + period
        f64[cpu + w.Q_BUDGET] = grant
    f64[cpu + w.Q_BUDGET] -= max(0.0, now - start) * rate
    if f64[cpu + w.Q_BUDGET] <= _NEAR:
        f64[cpu + w.Q_BUDGET] = 0.0


@kernel
def next_change(i64: Ints, f64: Floats, cpu: int, now: float) -> float:
    """When a job is served, the budget spent or a period begun that is waited for."""
    drop_dead(i64, f64, cpu)
    if not i64[cpu + w.Q_HEAP_LEN]:
        return math.inf
    rate = f64[cpu + w.Q_RATE]
    boundary = f64[cpu + w.Q_BOUNDARY]
    if rate == 0.0:
        return boundary
    first = f64[i64[cpu + w.Q_HEAP]]
    at = now + max(0.0, first - f64[cpu + w.Q_ATTAINED]) * i64[cpu + w.Q_COUNT] / rate
    grant = f64[cpu + w.Q_GRANT]
    if grant >= 0.0:
        spent = now + f64[cpu + w.Q_BUDGET] / rate
        if spent >= boundary:
            spent = boundary + grant / rate if grant < rate * f64[cpu + w.Q_PERIOD] else math.inf
        at = min(at, spent)
    return at


@kernel
def advance_groups(i64: Ints, f64: Floats, machine: int) -> None:
    """Bring all groups up to now."""
    now = f64[w.NOW]
    since = f64[machine + w.MC_SINCE]
    if now <= since:
        return
    cpu = i64[machine + w.MC_FIRST]
    while cpu:
        run_group(i64, f64, cpu, since, now)
        cpu = i64[cpu + w.Q_NEXT]
    f64[machine + w.MC_SINCE] = now


@kernel
def plan_groups(i64: Ints, f64: Floats, machine: int) -> None:
    """Share the cores out anew, and wake up when that changes next."""
    total = 0.0
    cpu = i64[machine + w.MC_FIRST]
    while cpu:
        f64[cpu + w.Q_RATE] = demand(i64, f64, cpu)
        total += f64[cpu + w.Q_RATE]
        cpu = i64[cpu + w.Q_NEXT]
    cores = f64[machine + w.MC_CORES]
    level = math.inf if total <= cores else water_level(i64, f64, machine, cores)
    at = math.inf
    now = f64[w.NOW]
    first = i64[machine + w.MC_FIRST]
    cpu = first
    while cpu:
        f64[cpu + w.Q_RATE] = min(f64[cpu + w.Q_RATE], level)
        at = min(at, next_change(i64, f64, cpu, now))
        cpu = i64[cpu + w.Q_NEXT]
    if at < f64[machine + w.MC_WAKE_AT] - _TINY:
        i64[machine + w.MC_WAKE_ID] += 1
        f64[machine + w.MC_WAKE_AT] = at
        push(i64, f64, max(0.0, at - now), w.CPU_WAKE, first, i64[machine + w.MC_WAKE_ID])


@kernel
def served_groups(i64: Ints, f64: Floats, machine: int, number: int) -> int:
    """A wake-up: takes what is served off all groups and returns it as a list."""
    if number != i64[machine + w.MC_WAKE_ID]:
        return 0
    f64[machine + w.MC_WAKE_AT] = math.inf
    advance_groups(i64, f64, machine)
    cpu = i64[machine + w.MC_FIRST]
    while cpu:
        take_served(i64, f64, cpu, machine + w.MC_SERVED_HEAD)
        cpu = i64[cpu + w.Q_NEXT]
    plan_groups(i64, f64, machine)
    return take_list(i64, f64, machine + w.MC_SERVED_HEAD)
