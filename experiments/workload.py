"""What users do while the experiment runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from topologies.model import Model
from topologies.quantities import Duration, Rate

Flow = Literal["access-token", "refresh", "workflow", "introspect", "userinfo", "revoke", "login"]
Request = Literal[
    "access-token",
    "password",
    "refresh",
    "token-exchange",
    "health",
    "introspect",
    "userinfo",
    "revoke",
    "login",
]

STEPS: dict[str, tuple[Request, ...]] = {
    "access-token": ("access-token",),
    "refresh": ("password", "refresh"),
    "workflow": ("password", "refresh", "token-exchange"),
    "introspect": ("password", "introspect"),
    "userinfo": ("password", "userinfo"),
    "revoke": ("password", "revoke"),
    "login": ("login",),
}
"""The requests of one iteration of each flow, in order (shared facts `origin.md`: the three load tests;
the others use a user's token once).

A step that fails ends the iteration: the next step would have no token to use.
"""


def _at_most_a_day(seconds: float) -> float:
    if seconds > 86_400:
        raise ValueError("a load lasts at most 24h")
    return seconds


class ProbeStream(Model):
    """Open-loop requests at a constant rate from next to every site, not slowed by failures.

    Attributes:
        flow: what is asked: `health` (a read of the database) or `access-token` (a write).
        rate: per site. Its inverse is the error bar of recovery times.
        timeout: after which a probe counts as failed.
    """

    flow: Literal["health", "access-token"] = "health"
    rate: Rate = Field(20.0, gt=0, le=200)
    timeout: Duration = Field(5.0, gt=0)


class Workload(Model):
    """Closed-loop users and open-loop probes.

    Attributes:
        flow: what each user repeats.
        users: all users together, shared out by the populations' `share`.
        ramp: users started per second.
        think: mean pause between two iterations of a user (exponential), in seconds.
        duration: length of the load in seconds, from its start; at most a day, as every request of it
            is simulated and kept.
        warmup: what is cut off the beginning before anything is counted.
        timeout: client-side limit for one request.
        probes: the open-loop streams.
    """

    flow: Flow = "workflow"
    users: int = Field(40, ge=1, le=10_000)
    ramp: Rate = Field(10.0, gt=0)
    think: Duration = 1.0
    duration: Annotated[Duration, AfterValidator(_at_most_a_day)] = Field(90.0, gt=0)
    warmup: Duration = 15.0
    timeout: Duration = Field(10.0, gt=0)
    probes: tuple[ProbeStream, ...] = (
        ProbeStream(flow="health", rate=20.0),
        ProbeStream(flow="access-token", rate=2.0),
    )


def users_per_population(users: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Share ``users`` out over populations by their weights, whole users only.

    Largest remainders first, of equal ones the first in order: the same for `sim` and for a lab.
    """
    total = sum(shares.values())
    exact = {name: users * share / total for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: counts[name] - exact[name])  # stable: ties keep their order
    for name in order[: users - sum(counts.values())]:
        counts[name] += 1
    return counts
