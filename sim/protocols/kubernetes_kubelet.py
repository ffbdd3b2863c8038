"""The kubelet: probing containers, restarting them with back-off, and ending them in time.

Source: kubernetes/kubernetes pkg/kubelet/prober/worker.go and prober_manager.go (probes),
pkg/kubelet/kuberuntime/kuberuntime_manager.go doBackOff with client-go util/flowcontrol/backoff.go
(restarts), pkg/kubelet/pod_workers.go calculateEffectiveGracePeriod and
pkg/kubelet/kuberuntime/kuberuntime_container.go killContainer (ends); components.md 6.1, 6.2. Seconds.

Example:
    >>> prober = new_prober(ProbeSettings(period=10.0, failure_threshold=3))
    >>> container_started(prober, 0.0)
    >>> is_due(prober, 0.5), result(prober, True)
    (True, 'healthy')
    >>> [result(prober, False) for _ in range(3)]
    ['', '', 'ill']
    >>> backoff = BackOff()
    >>> [restart_at(backoff, died, died) - died for died in (0.0, 20.0, 60.0)]
    [0.0, 10.0, 20.0]
    >>> ending(grace=30.0)
    Ending(term=0.0, kill=30.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

RELIST_PERIOD = 1.0
"""Seconds between two looks of the kubelet at its containers (genericPlegRelistPeriod)."""

STATUS_PERIOD = 10.0
"""Seconds within which a kubelet corrects a pod's status that others changed (status manager, syncPeriod)."""

FIRST_BACKOFF = 10.0
"""Seconds before the second restart of a container; each further one doubles it (KEP-4603)."""

MOST_BACKOFF = 300.0
FORGET_FACTOR = 2.0
"""A container that ran for twice the longest back-off starts afresh (10 minutes by default)."""

LEAST_GRACE = 1.0
"""A grace period of 0 is taken as this (calculateEffectiveGracePeriod)."""

LEAST_WINDOW = 2.0
"""Time between SIGTERM and SIGKILL however long the pre-stop hook took (minimumGracePeriodInSeconds)."""


class ProbeSettings(NamedTuple):
    """A probe, with the API's defaults."""

    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass
class Prober:
    """What one probe of one container has found so far.

    Attributes:
        liveness: a liveness probe believes in its container until it fails, a readiness probe does
            not believe in it until it succeeds.
        healthy: the value that others are told.
        last: the latest result, None before the first.
        run: results like it in a row.
        started_at: when the container was started, inf while it does not run.
        on_hold: a liveness probe that failed waits for the next container.
    """

    settings: ProbeSettings
    liveness: bool = False
    healthy: bool = False
    last: bool | None = None
    run: int = 0
    started_at: float = inf
    on_hold: bool = False


def new_prober(settings: ProbeSettings, liveness: bool = False) -> Prober:
    """A probe of a container that does not run yet."""
    return Prober(settings, liveness, healthy=liveness)


def container_started(prober: Prober, now: float) -> None:
    """A fresh container: its probe's value is the initial one again; the run of results is not reset."""
    prober.started_at = now
    prober.on_hold = False
    prober.healthy = prober.liveness


def container_ended(prober: Prober) -> None:
    """The container does not run: it is not ready at once, whatever the threshold."""
    prober.started_at = inf
    prober.healthy = prober.liveness


def is_due(prober: Prober, now: float) -> bool:
    """Whether a tick at ``now`` asks the container (it runs, and the initial delay is over)."""
    return not prober.on_hold and now - prober.started_at >= prober.settings.initial_delay


def result(prober: Prober, ok: bool) -> str:
    """Enter an answer. Returns `healthy` or `ill` when the value changes, else an empty string."""
    prober.run = prober.run + 1 if ok == prober.last else 1
    prober.last = ok
    settings = prober.settings
    if prober.run < (settings.success_threshold if ok else settings.failure_threshold):
        return ""
    changed = prober.healthy != ok
    prober.healthy = ok
    if prober.liveness and not ok:
        prober.on_hold = True
        prober.run = 0
    return ("healthy" if ok else "ill") if changed else ""


def longest_to_ill(settings: ProbeSettings) -> float:
    """Seconds until a container that stops answering counts as ill, at most.

    It answered a probe just before; the tick that makes it ill starts ``failure_threshold`` periods
    later and takes the timeout (components.md 6.1: 31 s by default, 21 s at least).
    """
    return settings.failure_threshold * settings.period + settings.timeout


@dataclass
class BackOff:
    """The restart back-off of one container.

    Attributes:
        most: longest wait (crashLoopBackOff.maxContainerRestartPeriod).
        wait: after the latest death; 0 before the first.
        updated_at: when it was last raised.
    """

    most: float = MOST_BACKOFF
    wait: float = 0.0
    updated_at: float = -inf


def restart_at(backoff: BackOff, died_at: float, now: float) -> float:
    """When the container that died at ``died_at`` is started again, as far as back-off allows it.

    The first restart is immediate. Calling this counts as the restart: the next wait is longer.
    """
    if backoff.wait == 0.0 or died_at - backoff.updated_at > FORGET_FACTOR * backoff.most:
        backoff.wait = min(FIRST_BACKOFF, backoff.most)
        backoff.updated_at = now
        return now
    at = max(now, died_at + backoff.wait)
    backoff.wait = min(2 * backoff.wait, backoff.most)
    backoff.updated_at = at
    return at


class Ending(NamedTuple):
    """When a container that is to end gets its signals, in seconds from the request."""

    term: float
    kill: float


def ending(grace: float, pre_stop: float = 0.0) -> Ending:
    """SIGTERM after the pre-stop hook (as far as the grace period reaches), SIGKILL at the end of it."""
    grace = max(grace, LEAST_GRACE)
    term = min(pre_stop, grace)
    return Ending(term, term + max(grace - term, LEAST_WINDOW))
