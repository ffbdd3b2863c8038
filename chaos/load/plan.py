"""What one load generator is told to do, as a file.

A generator is a process of its own, in the namespace next to its site, so the plan is all it
shares with the lab: written by the lab, read by `chaos.load.users` and `chaos.load.prober`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from experiments.workload import Flow, ProbeStream

COLUMNS = (
    "start",
    "latency",
    "source",
    "site",
    "flow",
    "request",
    "status",
    "outcome",
    "front_end",
    "token",
    "request_id",
    "lateness",
)
"""Columns of the samples file: those of `experiments.observation.REQUEST_COLUMNS`, then
`token` (SHA-256 hex of an access token that was acknowledged, else empty), `request_id` (sent
with every token request) and `lateness` (seconds by which the generator itself was late)."""


class Credentials(BaseModel):
    """Who the users are: one client and several accounts with one password."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str
    client_secret: str
    accounts: list[str] = Field(min_length=1)
    password: str
    scopes: dict[str, str]


class LoadPlan(BaseModel):
    """One generator's orders.

    Attributes:
        site: next to which the generator runs.
        t0: UNIX time of the load's start; all recorded times count from it.
        resolver: address of the DNS balancer; empty where there is none: then a user knows all front
            ends and picks one for each iteration, and nobody takes a dead one from its list.
        name: host name that users resolve.
        port: of the front ends.
        front_ends: address of each front end (with `:port` where it has one of its own) -> its site.
        resolver_cache: seconds for which one user keeps a DNS answer.
        users: closed-loop users here; 0 for a prober.
        ramp: users started per second here.
        probes: open-loop streams; empty for users.
        seed: of this generator's random choices.
        out: CSV file to write, columns as COLUMNS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str
    t0: float
    duration: float
    resolver: str
    resolver_port: int = 53
    name: str
    port: int = 80
    front_ends: dict[str, str]
    resolver_cache: float
    flow: Flow = "workflow"
    users: int = 0
    ramp: float = 1.0
    think: float = 1.0
    timeout: float = 10.0
    probes: list[ProbeStream] = Field(default_factory=list)
    seed: int
    credentials: Credentials
    out: str

    def endpoint(self, address: str) -> tuple[str, int]:
        """Host and port of a front end."""
        host, colon, port = address.rpartition(":")
        return (host, int(port)) if colon else (address, self.port)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Load a plan from a JSON file."""
        return cls.model_validate_json(Path(path).read_text())

    def write(self, path: str | Path) -> None:
        """Save the plan as JSON."""
        Path(path).write_text(self.model_dump_json(indent=2))
