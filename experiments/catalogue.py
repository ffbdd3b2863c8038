"""The metrics of a run: names, units, meanings, and how a value is addressed.

`CATALOGUE` is the list of what can be predicted, measured and claimed. Each entry says what the
number means and how it is computed; `experiments.metrics.reduce` computes it, from a simulated
and from a measured observation alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.observation import OUTCOMES
from topologies.model import DnsBalancer, Galera, Haproxy, RedisSentinel
from topologies.quantities import DURATION_UNITS, RATE_UNITS, RATIO_UNITS, spell

Unit = Literal["s", "ratio", "/s", "count"]
Window = Literal["whole", "before", "fault", "after"]
ScopeKey = Literal["site", "flow", "request", "kind", "event"]

WINDOWS: Mapping[Window, str] = {
    "whole": "from the end of the warm-up to the end of the load",
    "before": "from the end of the warm-up to the first injection",
    "fault": "from the first injection to the last undo",
    "after": "from the last undo to the end of the load",
}
SCOPE_KEYS: tuple[ScopeKey, ...] = ("site", "flow", "request", "kind", "event")

WRITES = ("access-token", "password", "refresh", "token-exchange")
"""Requests that change the database: each of them stores a token (facts/iam.md 1.2)."""

ERROR_KINDS = tuple(outcome for outcome in OUTCOMES if outcome not in ("ok", "stale"))
"""Outcomes counted by `error_ratio`; stale answers have a metric of their own."""

SUSTAINED = 3.0
"""Seconds of nothing but successes that end an outage."""

STALL_TAIL = 15.0
"""Seconds after the last undo in which a write stall is still the fault's doing (a Galera member that
comes back blocks its peers while the view forms: inactive_timeout, components.md 1.9)."""

EVENT_SOURCES: Mapping[str, type] = {
    "galera.non-primary": Galera,
    "galera.view": Galera,
    "galera.primary": Galera,
    "redis.sdown": RedisSentinel,
    "redis.odown": RedisSentinel,
    "redis.switch-master": RedisSentinel,
    "haproxy.server-down": Haproxy,
    "haproxy.server-up": Haproxy,
    "dns.down": DnsBalancer,
    "dns.up": DnsBalancer,
}
"""Kinds of events of services that `time_to` can wait for, and the kind of service that makes them."""

CLUSTER_EVENTS = ("pod.deleted", "pod.not-ready", "pod.ready", "node.not-ready", "node.ready")
"""Kinds of events of Kubernetes clusters that `time_to` can wait for; any topology has them there."""

EVENTS = (*EVENT_SOURCES, *CLUSTER_EVENTS)
"""All kinds of events that `time_to` can wait for."""


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue.

    Attributes:
        name: as users write it.
        unit: of the value: seconds, a ratio 0..1, per second, or a count.
        better: direction a user wants; `lower` or `higher`.
        population: `load` (closed-loop users), `probe` (open-loop probes) or `run` (neither).
        meaning: one line for people.
        definition: how it is computed.
        scopes: combinations of scope keys it is computed for (`flow` is always part of a load or
            probe key).
        windows: in which it is computed.
    """

    name: str
    unit: Unit
    better: Literal["lower", "higher"]
    population: Literal["load", "probe", "run"]
    meaning: str
    definition: str
    scopes: tuple[tuple[ScopeKey, ...], ...]
    windows: tuple[Window, ...] = ("whole", "before", "fault", "after")

    def allows(self, keys: frozenset[str]) -> bool:
        """Whether the scope keys ``keys`` are one of the combinations it is computed for."""
        return any(keys == frozenset(scope) for scope in self.scopes)


_LOAD: tuple[tuple[ScopeKey, ...], ...] = (("flow",), ("site", "flow"), ("flow", "request"))
_PROBE: tuple[tuple[ScopeKey, ...], ...] = (("flow",), ("site", "flow"))


def _latency(percent: int) -> Metric:
    return Metric(
        f"latency_p{percent}",
        "s",
        "lower",
        "load",
        f"{percent} % of the answered requests were at least this fast",
        f"{percent}th percentile (linear interpolation) of the latency of ok load requests that started in "
        "the window",
        _LOAD,
    )


CATALOGUE: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "throughput",
            "/s",
            "higher",
            "load",
            "answers the users got per second",
            "ok load responses that completed in the window, by the length of the window",
            _LOAD,
        ),
        Metric(
            "latency_mean",
            "s",
            "lower",
            "load",
            "how long an answered request took on average",
            "arithmetic mean of the latency of ok load requests that started in the window",
            _LOAD,
        ),
        _latency(50),
        _latency(80),
        _latency(95),
        _latency(99),
        Metric(
            "success_ratio",
            "ratio",
            "higher",
            "load",
            "share of the users' requests that were answered ok",
            "ok load requests by all load requests that started in the window",
            _LOAD,
        ),
        Metric(
            "error_ratio",
            "ratio",
            "lower",
            "load",
            "share of the users' requests that failed in one way",
            "load requests with outcome `kind` by all load requests that started in the window; stale "
            "answers are counted by stale_reads, so that success_ratio, stale_reads and all error_ratio add "
            "up to one",
            (("flow", "kind"), ("site", "flow", "kind")),
        ),
        Metric(
            "stale_reads",
            "ratio",
            "lower",
            "load",
            "share of the users' requests that did not see what had just been written",
            "load requests with outcome `stale` (HTTP 400/401) by all that started in the window",
            _LOAD,
        ),
        Metric(
            "availability",
            "ratio",
            "higher",
            "probe",
            "share of the open-loop probes that were answered ok",
            "ok probes by all probes that started in the window",
            _PROBE,
        ),
        Metric(
            "unavailability",
            "s",
            "lower",
            "probe",
            "total time in which probes failed",
            "failed probes that started in the window, times the probe period; without a site: of the worst "
            "site",
            _PROBE,
        ),
        Metric(
            "recovery_time",
            "s",
            "lower",
            "probe",
            "how long until the service was back for good",
            "length of the longest outage among the probes that ended after the first injection (after the "
            "warm-up when nothing is injected): from the start of its first failed probe to the start of the "
            f"first one that opens a period of at least {SUSTAINED:g} s in which every probe succeeds; 0 "
            "when no probe failed; cut off at the end of the load (censored) when that never comes; without "
            "a site: of the worst site",
            _PROBE,
            ("whole",),
        ),
        Metric(
            "write_stall",
            "s",
            "lower",
            "run",
            "longest time in which no write was acknowledged",
            "longest gap between two completions of ok writes (load and probes together) asked at front ends "
            "that are not isolated, that overlaps the time from the first injection to "
            f"{STALL_TAIL:g} s after the last undo; censored when the load ends first",
            ((),),
            ("whole",),
        ),
        Metric(
            "lost_commits",
            "count",
            "lower",
            "run",
            "acknowledged writes that are gone",
            "writes that a client was told succeeded and that the audit finds on no member",
            ((),),
            ("whole",),
        ),
        Metric(
            "in_doubt_commits",
            "count",
            "lower",
            "run",
            "writes that took effect though the client was not told",
            "writes that ended without an acknowledgement and that the audit finds committed",
            ((),),
            ("whole",),
        ),
        Metric(
            "time_to",
            "s",
            "lower",
            "run",
            "how long until a component reacted",
            "time from the first injection to the first event of this kind; cut off at the end of the load "
            "(censored) when it never comes",
            (("event",),),
            ("whole",),
        ),
    )
}


def spell_value(value: float, unit: Unit) -> str:
    """Write a metric's value as users do: `12.5s`, `99.3%`, `41/s`, `3`."""
    if unit == "s":
        return f"{round(value, 6):g}s" if abs(value) >= 1 else spell(value, DURATION_UNITS)
    if unit == "ratio":
        return f"{100 * value:.6g}%"
    return f"{value:.6g}/s" if unit == "/s" else f"{value:.6g}"


UNIT_SPELLING: Mapping[Unit, tuple[Mapping[str, float], str, str]] = {
    "s": (DURATION_UNITS, "a time", "10s"),
    "ratio": (RATIO_UNITS, "a share in percent", "99%"),
    "/s": (RATE_UNITS, "a rate", "5/s"),
    "count": ({"": 1.0}, "a plain number", "0"),
}
"""Unit -> its spellings, what it is, an example."""

_KEY = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(\{(?P<scope>[^{}]*)\})?@(?P<window>[a-z]+)")


@dataclass(frozen=True, order=True)
class MetricKey:
    """Which number: a metric, where it was looked at, and when.

    Text form ``name{site=..,flow=..,request=..,kind=..,event=..}@window``; absent scope keys are left
    out, and so are empty braces.
    """

    name: str
    window: Window = "whole"
    site: str | None = None
    flow: str | None = None
    request: str | None = None
    kind: str | None = None
    event: str | None = None

    def __str__(self) -> str:
        """The text form."""
        scope = ",".join(f"{key}={value}" for key, value in self.scope.items())
        return f"{self.name}{{{scope}}}@{self.window}" if scope else f"{self.name}@{self.window}"

    @property
    def scope(self) -> dict[ScopeKey, str]:
        """The scope keys that are given, in their fixed order."""
        values = {key: getattr(self, key) for key in SCOPE_KEYS}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def metric(self) -> Metric:
        """The catalogue's entry."""
        return CATALOGUE[self.name]

    @classmethod
    def parse(cls, text: str) -> MetricKey:
        """Read the text form.

        Raises:
            ValueError: the text is not of that form or names something the catalogue does not know.
        """
        match = _KEY.fullmatch(text)
        if match is None:
            raise ValueError(
                f"cannot read {text!r}: write a metric as in throughput{{site=ral,flow=workflow}}@whole"
            )
        if match["name"] not in CATALOGUE:
            raise ValueError(f"unknown metric {match['name']!r}")
        window = next((name for name in WINDOWS if name == match["window"]), None)
        if window is None:
            raise ValueError(f"unknown window {match['window']!r}: one of {', '.join(WINDOWS)}")
        scope: dict[str, str] = {}
        for part in (match["scope"] or "").split(",") if match["scope"] else ():
            key, sign, value = part.partition("=")
            if key not in SCOPE_KEYS or not sign or not value or key in scope:
                raise ValueError(
                    f"cannot read {part!r} in {text!r}: write one of {', '.join(SCOPE_KEYS)} as in site=ral"
                )
            scope[key] = value
        return cls(match["name"], window, **scope)
