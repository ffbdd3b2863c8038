"""What was seen during one run, in the same shape whether it was simulated or measured.

Because `sim` and `chaos` both fill this shape and both hand it to `experiments.metrics`, a
predicted and a measured number can never differ by their definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.samples import REQUEST_COLUMNS, Samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KUBERNETES", "OUTCOMES", "REQUEST_COLUMNS", "Audit", "Event", "Observation", "outcome_of"]

OUTCOMES = (
    "ok",
    "conflict",  # HTTP 500 that the service calls a conflict (facts/iam.md 2.1: a lost certification)
    "server-error",  # HTTP 500 of any other cause: the database refused (1047), was lost, or failed
    "stale",  # HTTP 400/401: the request read a member that had not applied the write yet (iam.md 2.2)
    "bad-gateway",  # 502
    "unavailable",  # 503
    "gateway-timeout",  # 504
    "timeout",  # the client gave up
    "refused",  # no connection: refused, reset, unreachable, no DNS answer
    "other",
)

KUBERNETES = "kubernetes"
"""Value of `platform` in an observation's extras: the sites are clusters."""


def outcome_of(status: int, *, conflict: bool = False) -> str:
    """Name the outcome of an HTTP status (transport failures are named where they are seen).

    Args:
        status: HTTP status.
        conflict: the service said that a status 500 was a write conflict.
    """
    if 200 <= status < 300:
        return "ok"
    return {
        400: "stale",
        401: "stale",
        500: "conflict" if conflict else "server-error",
        502: "bad-gateway",
        503: "unavailable",
        504: "gateway-timeout",
    }.get(status, "other")


@dataclass(frozen=True)
class Event:
    """Something a component did or that was done to it.

    Attributes:
        at: seconds since the load started.
        component: `service@site`, a link `a-b`, a node `site/index`, an API server `api@site`, or
            `experiment`.
        kind: from the vocabulary below.
        detail: free text for people.

    Kinds: `fault.inject`, `fault.undo`; `process.stop`, `process.start`; `galera.view`,
    `galera.non-primary`, `galera.primary`; `redis.sdown`, `redis.odown`, `redis.switch-master`;
    `haproxy.server-down`, `haproxy.server-up`; `dns.down`, `dns.up`; `link.cut`, `link.healed`.
    On Kubernetes also `pod.created`, `pod.ready`, `pod.not-ready`, `pod.deleted` (asked to end, or its
    object is gone), `pod.trouble` (its container cannot run), `container.restart`; `endpoint.added`,
    `endpoint.removed` (of a Service); `node.ready`, `node.not-ready`, `node.cordoned`,
    `node.uncordoned`, `node.lease-expired`, `node.lease-renewed`; `api.unreachable`, `api.reachable`
    (nothing is known of the site's pods in between); `kubernetes.event` (a warning of the cluster's own).
    """

    at: float
    component: str
    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Audit:
    """What became of the writes, looked up on every member after the run.

    Attributes:
        acknowledged: writes a client was told succeeded.
        lost: acknowledged, found on no member.
        divergent: found on some members only.
        in_doubt: writes whose client got no answer or an error while the outcome was open.
        in_doubt_committed: of those, found committed.
        lookups: how many were looked up, on how many members each (a partial audit says so).
    """

    acknowledged: int = 0
    lost: int = 0
    divergent: int = 0
    in_doubt: int = 0
    in_doubt_committed: int = 0
    lookups: str = ""


class _Requests:
    """The requests as a data frame, made of `Samples` when somebody asks for it, or given."""

    def __get__(self, observation: Observation | None, owner: type) -> pd.DataFrame:
        if observation is None:
            raise AttributeError("requests")  # so that the field has no default
        kept = vars(observation)
        if "frame" not in kept:
            kept["frame"] = kept["samples"].frame()
        frame: pd.DataFrame = kept["frame"]
        return frame

    def __set__(self, observation: Observation, value: pd.DataFrame | Samples) -> None:
        vars(observation)["samples" if isinstance(value, Samples) else "frame"] = value


@dataclass(frozen=True)
class Observation:
    """One run.

    Attributes:
        requests: one row per request, columns as REQUEST_COLUMNS, ordered by start.
        events: ordered by time.
        audit: consistency of the writes.
        duration: seconds of load.
        warmup: seconds to cut from the beginning.
        windows: fault windows as (inject, undo) in seconds since the load started.
        extra: anything else worth keeping (lab health, versions), JSON-able; `platform` says
            `kubernetes` where the sites are clusters, real or modelled.
    """

    requests: pd.DataFrame
    events: tuple[Event, ...]
    audit: Audit
    duration: float
    warmup: float
    windows: tuple[tuple[float, float], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Samples, *others: Any) -> Observation:
        """An observation whose requests are given in columns."""
        return cls(samples, *others)  # type: ignore[arg-type]

    @property
    def table(self) -> Samples:
        """The requests in columns, as metrics are computed from."""
        kept = vars(self)
        if "samples" not in kept:
            kept["samples"] = Samples.of_frame(kept["frame"])
        samples: Samples = kept["samples"]
        return samples


Observation.requests = _Requests()  # type: ignore[assignment]
