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


REPLY_BURST = 6.0
"""ICMP messages that the kernel sends to one host at once (XRLIM_BURST_FACTOR)."""

REPLY_INTERVAL = 1.0
"""Seconds between two of them from then on (icmp_ratelimit 1000 ms)."""


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


@dataclass
class ReplyLimit:
    """How many ICMP messages the kernel still sends to one host (net.ipv4.icmp_ratelimit).

    A rejected connection is answered by `port unreachable`. Linux lets six of them go at once and then one
    a second to the same host (inet_peer_xrlim_allow, net/ipv4/inetpeer.c); it keeps silent about the
    others. Seen on kind 0.30: of some 40 connections a second to a Service without endpoints six were
    refused at once and then one a second.

    Attributes:
        tokens: messages that could be sent at `since`.
        since: when they were counted.
    """

    tokens: float = REPLY_BURST
    since: float = -inf


def replies(limit: ReplyLimit, now: float) -> bool:
    """Whether a rejected connection is told so; else its SYN is lost."""
    if limit.since > -inf:
        limit.tokens = min(REPLY_BURST, limit.tokens + (now - limit.since) / REPLY_INTERVAL)
    limit.since = now
    if limit.tokens < 1:
        return False
    limit.tokens -= 1
    return True
