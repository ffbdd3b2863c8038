"""Services: which endpoints a connection may go to, and when kube-proxy has written that down.

Source: kubernetes/kubernetes pkg/proxy/topology.go CategorizeEndpoints (endpoints that are
terminating but still serve are used when no other is ready), pkg/proxy/iptables/proxier.go and
pkg/util/async/bounded_frequency_runner.go (writing the rules: at most once per minSyncPeriod with a
burst of two, at least once per syncPeriod), pkg/controller/endpointslice; components.md 6.2. Seconds.

Example:
    >>> usable([condition(True, True, False), condition(True, True, True)])
    [0]
    >>> usable([condition(True, True, True)])             # better one that goes away than none
    [0]
    >>> runner = Runner(1.0)
    >>> [request(runner, 10.0) for _ in range(1)], began(runner, 10.0), request(runner, 10.2)
    ([10.0], None, 10.2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

BURST = 2.0
"""Runs that kube-proxy may do back to back (burstSyncs)."""


class Condition(NamedTuple):
    """Conditions of an endpoint in its EndpointSlice."""

    ready: bool
    serving: bool
    terminating: bool


def condition(
    running: bool, pod_ready: bool, terminating: bool, publish_not_ready: bool = False
) -> Condition:
    """Conditions of the endpoint of a pod.

    Args:
        running: it has an address.
        pod_ready: its Ready condition.
        terminating: it is being deleted.
        publish_not_ready: the Service publishes addresses that are not ready.
    """
    serving = running and (pod_ready or publish_not_ready)
    ready = running and (publish_not_ready or (pod_ready and not terminating))
    return Condition(ready, serving, terminating)


def usable(endpoints: Sequence[Condition]) -> list[int]:
    """Endpoints among which a new connection's is picked at random; with none it is rejected."""
    ready = [index for index, found in enumerate(endpoints) if found.ready]
    if ready:
        return ready
    return [index for index, found in enumerate(endpoints) if found.serving and found.terminating]


@dataclass
class Runner:
    """kube-proxy's bounded-frequency runner: a token bucket in front of writing the rules.

    Attributes:
        interval: minSyncPeriod; tokens come at this pace.
        tokens: runs that could begin at once, at the time of `since`.
        since: when the tokens were counted.
        due: when the next run begins, inf when none is wanted.
    """

    interval: float
    tokens: float = BURST
    since: float = -inf
    due: float = inf


def _tokens(runner: Runner, now: float) -> float:
    if runner.interval <= 0 or runner.since == -inf:
        return BURST
    return min(BURST, runner.tokens + (now - runner.since) / runner.interval)


def request(runner: Runner, now: float) -> float:
    """Something has changed: when the rules will be written. Changes until then are written with it."""
    if runner.due == inf:
        tokens = _tokens(runner, now)
        runner.due = now if tokens >= 1 - 1e-9 else now + (1 - tokens) * runner.interval
    return runner.due


def began(runner: Runner, now: float) -> None:
    """The wanted run begins."""
    runner.tokens = _tokens(runner, now) - 1
    runner.since = now
    runner.due = inf
