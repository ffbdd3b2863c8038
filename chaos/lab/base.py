"""What every lab backend offers: the interface the conformance suite runs against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from experiments.faults import Fault
from experiments.observation import Event, Observation
from experiments.workload import Workload
from topologies.model import Topology

if TYPE_CHECKING:
    import pandas as pd


class Clock(Protocol):
    """Time as the lab lives it: real for daemons, virtual for the simulator."""

    def now(self) -> float:
        """Seconds since the load started; negative or zero before."""

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


@dataclass(frozen=True)
class ComponentStatus:
    """State of one component; `unknown` when it cannot be asked, never `up` by default."""

    component: str
    state: Literal["up", "down", "paused", "unknown"]
    detail: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Where a service can be reached from inside the lab."""

    component: str
    address: str
    port: int


@dataclass(frozen=True)
class Injected:
    """A fault in force. `id` names its undo record."""

    id: str
    fault: Fault
    at: float


@dataclass
class LabFacts:
    """What the lab was made of, for the run record (kernel or user-space WireGuard, versions, quotas)."""

    backend: str
    facts: dict[str, Any] = field(default_factory=dict)


class Lab(Protocol):
    """A place where a topology runs and faults are injected.

    Order of use: `up`, `start_load`, (`inject`, `undo`)*, `stop_load`, `observe`, `down`.
    Every method may raise `chaos.errors.LabError` with a message for people.
    """

    @property
    def clock(self) -> Clock:
        """Time as this lab lives it."""

    def up(self, topology: Topology) -> None:
        """Start everything and return when the service answers at every site."""

    def down(self) -> None:
        """Stop and remove everything of the lab; safe to call twice and on a half-built lab."""

    def status(self) -> list[ComponentStatus]:
        """True state of every component."""

    def endpoints(self) -> list[Endpoint]:
        """Addresses of every front end and service."""

    def start_load(self, workload: Workload, seed: int) -> None:
        """Start users and probes; the clock's zero is now."""

    def stop_load(self) -> None:
        """Stop users and probes that are still running."""

    def inject(self, fault: Fault) -> Injected:
        """Put ``fault`` in force. Its inverse is on disk before anything is touched.

        Raises:
            chaos.errors.InjectionError: the fault names a missing target or could not be applied
                (what was applied of it has been undone).
        """

    def undo(self, injected: Injected) -> None:
        """Take ``injected`` back; harmless when it is already gone."""

    def events(self) -> list[Event]:
        """Component events seen so far, ordered by time."""

    def samples(self, since: float) -> pd.DataFrame:
        """Requests that ended at or after ``since``, columns as REQUEST_COLUMNS, while the load runs.

        For steady-state probes; it may lag behind by a second.
        """

    def observe(self) -> Observation:
        """Everything seen, audit included. Call after `stop_load`, with all faults undone."""

    def facts(self) -> LabFacts:
        """What the lab was made of."""
