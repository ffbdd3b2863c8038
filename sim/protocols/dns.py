"""A health-checking DNS server (gdnsd) and its clients' caches.

Source: gdnsd 3.8 src/plugins/mon.c and multifo; components.md 5.1, 5.2, 5.5. Seconds throughout.

Example:
    >>> monitor = Monitor(Thresholds(interval=5.0, down=2))
    >>> check_result(monitor, True), check_result(monitor, False), check_result(monitor, False)
    ('up', '', 'down')
    >>> answer([False, True, True], up_fraction=0.5)
    [1, 2]
    >>> answer([False, False, True], up_fraction=0.5)          # too few are up: everybody
    [0, 1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple


class Thresholds(NamedTuple):
    """A service type's settings, with gdnsd's defaults; ``timeout`` is interval / 2 when not given."""

    interval: float = 10.0
    timeout: float | None = None
    up: int = 20
    ok: int = 10
    down: int = 10


@dataclass
class Monitor:
    """State of one monitored address.

    Attributes:
        thresholds: see :class:`Thresholds`.
        up: current state; None until the first result, which is taken as it is.
        failures: counted while up, towards `down_thresh`.
        successes: in a row, towards `ok_thresh` (while up) or `up_thresh` (while down).
    """

    thresholds: Thresholds
    up: bool | None = None
    failures: int = 0
    successes: int = 0


def timeout_of(thresholds: Thresholds) -> float:
    """Seconds after which a check that got no answer counts as failed."""
    return thresholds.interval / 2 if thresholds.timeout is None else thresholds.timeout


def check_result(monitor: Monitor, ok: bool) -> str:
    """Enter one check's result. Returns `up` or `down` when the state changed, else an empty string.

    Up to down after `down_thresh` failures not cleared by `ok_thresh` successes in a row; down to up after
    `up_thresh` successes in a row.
    """
    if monitor.up is None:
        monitor.up = ok
        return "up" if ok else "down"
    if not ok:
        monitor.successes = 0
        if monitor.up:
            monitor.failures += 1
            if monitor.failures >= monitor.thresholds.down:
                monitor.up = False
                monitor.failures = 0
                return "down"
        return ""
    if monitor.up:
        if monitor.failures:
            monitor.successes += 1
            if monitor.successes >= monitor.thresholds.ok:
                monitor.failures = monitor.successes = 0
        return ""
    monitor.successes += 1
    if monitor.successes >= monitor.thresholds.up:
        monitor.up = True
        monitor.failures = monitor.successes = 0
        return "up"
    return ""


def time_to_live(monitors: Sequence[Monitor], maximum: float, minimum: float | None = None) -> float:
    """TTL of an answer that depends on ``monitors``: the soonest any of them can change state.

    Clamped to [minimum, maximum] of the zone's `DYNA` record; the minimum is half the maximum when not given.
    """
    floor = maximum / 2 if minimum is None else minimum
    soonest = maximum
    for monitor in monitors:
        limits = monitor.thresholds
        left = limits.down - monitor.failures if monitor.up else limits.up - monitor.successes
        soonest = min(soonest, left * limits.interval)
    return max(floor, min(maximum, soonest))


def answer(up: Sequence[bool], up_fraction: float = 0.5) -> list[int]:
    """Indices of the addresses in a multifo answer.

    Those that are up; all, dead ones included, when fewer than ``up_fraction`` (`up_thresh`) are up.
    """
    alive = [index for index, is_up in enumerate(up) if is_up]
    if len(alive) < max(1, ceil(up_fraction * len(up) - 1e-9)):
        return list(range(len(up)))
    return alive


@dataclass
class Cache:
    """What one client's resolver remembers: addresses until ``expires``.

    Attributes:
        fixed: the client's own lifetime of an answer (JVM: 30 s whatever the TTL); None to obey the TTL.
    """

    fixed: float | None = None
    addresses: tuple[int, ...] = ()
    expires: float = -inf


def cached(cache: Cache, now: float) -> tuple[int, ...]:
    """The remembered addresses, empty when a query is needed."""
    return cache.addresses if now < cache.expires else ()


def store(cache: Cache, addresses: Sequence[int], ttl: float, now: float) -> None:
    """Remember an answer."""
    cache.addresses = tuple(addresses)
    cache.expires = now + (ttl if cache.fixed is None else cache.fixed)
